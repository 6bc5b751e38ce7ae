"""Packed batches train as padded ones do: the same loss, the same gradients."""

from __future__ import annotations

import pytest
import torch

from heed.backbone.packed import Packed
from heed.data.packing import Shape
from heed.data.plain_batch import from_plain, single_row, to_plain

CASES = (
    ("translation", "model.shape=encoder_decoder"),
    ("translation", "model.shape=decoder"),
    ("generative_qa", "model.shape=encoder_decoder"),
    ("sentiment", "model.shape=encoder"),
    ("sentiment", "model.shape=decoder"),
    ("sentiment", "task.pooling=first"),
    ("qa", "model.shape=encoder"),
    ("masked_lm", "model.shape=encoder"),
    ("causal_lm", "model.shape=decoder"),
)


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def case(request, make):
    return make(*request.param)


def test_loss_and_gradients_equal_those_of_padded_rows(case):
    padded = _result(case.task, case.batch)
    packed = _result(case.task, _packed(case.batch))
    assert padded[0].count == packed[0].count
    torch.testing.assert_close(padded[0].sum, packed[0].sum, rtol=1e-5, atol=1e-5)
    for name, gradient in padded[1].items():
        torch.testing.assert_close(gradient, packed[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_batch_may_have_a_shape_of_its_own(case):
    """Its widths and rows are rounded up, so that few shapes come up."""
    streams = [
        n for n in ("source", "target", "tokens") if getattr(case.batch, n, None) is not None
    ]
    packed = case.batch.packed(Shape.just_enough(len(case.batch), len(streams)))
    for name in streams:
        layout = getattr(packed, name).layout
        assert layout.width % 64 == layout.rows % 16 == 0
        assert int(layout.lengths.sum()) <= layout.width < int(layout.lengths.sum()) + 64
    first, second = _result(case.task, case.batch), _result(case.task, packed)
    torch.testing.assert_close(first[0].sum, second[0].sum, rtol=1e-5, atol=1e-5)
    for name, gradient in first[1].items():
        torch.testing.assert_close(gradient, second[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_packed_row_on_its_own_has_the_loss_of_a_padded_one(case):
    batch = _packed(case.batch)
    alone = [case.task.loss(single_row(batch, row)).sum for row in range(len(case.batch))]
    torch.testing.assert_close(sum(alone), case.task.loss(batch).sum, rtol=1e-5, atol=1e-5)


def test_a_packed_batch_is_kept_as_plain_values(case):
    batch = _packed(case.batch)
    again = from_plain(to_plain(batch))
    torch.testing.assert_close(case.task.loss(batch).sum, case.task.loss(again).sum)


@pytest.mark.parametrize("name", ["translation", "qa", "masked_lm"])
def test_a_step_is_captured_whole(make, name):
    """No line of it falls back to Python, which would cost a GPU its time."""
    case = make(name)
    case.task.train()
    batch = _packed(case.batch)
    captured = torch.compile(case.task.loss, backend="aot_eager", fullgraph=True, dynamic=False)
    loss = captured(batch)
    torch.testing.assert_close(loss.sum, case.task.loss(batch).sum, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


def _packed(batch):
    """With empty rows and room at the end, as batches of one shape have."""
    streams = [getattr(batch, name, None) for name in ("source", "target", "tokens")]
    layouts = [tokens.layout for tokens in streams if tokens is not None]
    widths = tuple(int(layout.lengths.sum()) + 11 for layout in layouts)
    longest = tuple(layout.width for layout in layouts)
    packed = batch.packed(Shape(widths, longest, len(batch) + 2))
    own = packed.source if hasattr(packed, "source") else packed.tokens
    assert isinstance(own.layout, Packed)
    assert packed.real_tokens <= packed.token_positions
    return packed


def _result(task, batch):
    task.eval()
    task.zero_grad()
    loss = task.loss(batch)
    loss.sum.backward()
    found = {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}
    return loss, found
