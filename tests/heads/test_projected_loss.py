"""Projection and cross entropy in one against both apart, and against torch's.

Legend: N tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.heads import projected_loss, vocabulary
from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.projected_loss import can_project, projected_cross_entropy
from heed.heads.vocabulary import VocabularyHead

N, D, V = 29, 11, 37


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one of them, the last one shorter."""
    monkeypatch.setattr(projected_loss, "CPU_ROWS", 7)


def inputs(biased: bool, size: float = 1.0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    shapes = {"hidden": (N, D), "weight": (V, D), "bias": (V,)}
    given = {name: torch.randn(shape).mul_(size).requires_grad_() for name, shape in shapes.items()}
    return given if biased else {name: x for name, x in given.items() if name != "bias"}


def targets() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    labels, mask = torch.randint(V, (N,)), torch.rand(N) < 0.7
    labels[~mask] = -100
    return labels, mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_sum_and_gradients_are_those_of_torch(smoothing: float, biased: bool, scale: float) -> None:
    labels, mask = targets()
    results = []
    for ours in (False, True):
        x = inputs(biased)
        if ours:
            loss = projected_cross_entropy(
                x["hidden"],
                x["weight"],
                labels,
                bias=x.get("bias"),
                scale=scale,
                mask=mask,
                smoothing=smoothing,
            )
            assert loss.count == mask.sum()
            total = loss.sum
        else:
            logits = torch.nn.functional.linear(scale * x["hidden"], x["weight"], x.get("bias"))
            total = torch.nn.functional.cross_entropy(
                logits, labels, label_smoothing=smoothing, reduction="sum"
            )
        (3.0 * total / mask.sum()).backward()
        results.append([total.detach(), *(y.grad for y in x.values() if y.grad is not None)])
    assert len(results[0]) == 3 + biased
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_improbable_labels_cost_what_they_should() -> None:
    """Their probabilities are 0 in fp32."""
    x = inputs(biased=False, size=20.0)
    labels, mask = targets()
    found = projected_cross_entropy(x["hidden"], x["weight"], labels, mask=mask)
    logits = x["hidden"] @ x["weight"].T
    expected = label_smoothed_cross_entropy(logits, labels, mask=mask)
    assert (logits.max(-1).values - logits.min(-1).values).min() > 100
    torch.testing.assert_close(found.sum, expected.sum, atol=1e-2, rtol=1e-5)


def test_half_precision_is_as_near_as_that_of_both_apart() -> None:
    labels, mask = targets()
    results = []
    for how in ("exact", "apart", "together"):
        x = inputs(biased=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=how != "exact"):
            if how == "together":
                loss = projected_cross_entropy(
                    x["hidden"], x["weight"], labels, bias=x["bias"], mask=mask, smoothing=0.1
                )
            else:
                logits = torch.nn.functional.linear(x["hidden"], x["weight"], x["bias"])
                loss = label_smoothed_cross_entropy(logits, labels, mask=mask, smoothing=0.1)
        loss.sum.backward()
        assert loss.sum.dtype == torch.float32
        results.append([loss.sum.detach(), *(y.grad for y in x.values() if y.grad is not None)])
    for exact, apart, together in zip(*results, strict=True):
        assert together.dtype == exact.dtype
        ours, theirs = ((y - exact).square().mean() for y in (together, apart))
        assert ours < 2 * theirs + 1e-6 * exact.square().mean()


def test_only_wanted_gradients_are_made() -> None:
    labels, mask = targets()
    x = inputs(biased=True)
    frozen: Any = x["weight"].detach()
    total = projected_cross_entropy(x["hidden"], frozen, labels, bias=x["bias"], mask=mask).sum
    saved = total.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert [y is None for y in saved] == [False, True, False]
    with torch.no_grad():
        again = projected_cross_entropy(x["hidden"], x["weight"], labels, bias=x["bias"], mask=mask)
    assert not again.sum.requires_grad
    torch.testing.assert_close(again.sum, total.detach())


def test_no_label_counts() -> None:
    x = inputs(biased=True)
    labels = torch.zeros(N, dtype=torch.long)
    loss = projected_cross_entropy(
        x["hidden"], x["weight"], labels, bias=x["bias"], mask=labels > 0, smoothing=0.1
    )
    loss.sum.backward()
    assert loss.count == 0
    for y in (loss.sum, *(y.grad for y in x.values())):
        assert y is not None
        assert (y == 0).all()


def test_no_logits_of_all_tokens_are_made() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes: list[int] = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            found = func(*args, **(kwargs or {}))
            sizes.extend(y.numel() for y in [found] if isinstance(y, Tensor))
            return found

    labels, mask = targets()
    x = inputs(biased=False)
    with Sizes():
        projected_cross_entropy(x["hidden"], x["weight"], labels, mask=mask).sum.backward()
    assert max(sizes) == max(V * D, N * D)


def test_what_is_left_to_others() -> None:
    assert can_project(torch.zeros(2, D))
    assert not can_project(torch.zeros(2, D), soft_cap=30.0)
    assert not can_project(torch.zeros(2, D, dtype=torch.float16))
    with torch.autocast("cpu", torch.float16):
        assert not can_project(torch.zeros(2, D))


def test_a_head_does_it_where_logits_are_large(monkeypatch):
    """The same loss and gradients; smaller logits are made as a whole."""
    torch.manual_seed(0)
    head = VocabularyHead(d_model=8, vocabulary_size=23, bias=True)
    hidden, labels = torch.randn(3, 5, 8), torch.randint(23, (3, 5))
    mask = torch.rand(3, 5) < 0.7
    found = []
    for large in (vocabulary.LARGE, 0):
        monkeypatch.setattr(vocabulary, "LARGE", large)
        made = []
        monkeypatch.setattr(
            vocabulary,
            "projected_cross_entropy",
            lambda *x, made=made, **how: made.append(1) or projected_cross_entropy(*x, **how),
        )
        x = hidden.clone().requires_grad_()
        head.zero_grad()
        loss = head.loss(x, labels, mask=mask, smoothing=0.1)
        loss.sum.backward()
        assert bool(made) is (large == 0)
        found.append([loss.sum, loss.count, x.grad, *(p.grad.clone() for p in head.parameters())])
    for whole, in_one in zip(*found, strict=True):
        torch.testing.assert_close(whole, in_one, rtol=1e-5, atol=1e-5)
