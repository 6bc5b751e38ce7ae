"""Gradient checkpointing: the same numbers from less that is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer

LAYOUT = Padded(torch.tensor([17, 6, 11]), 17)


def build(*, gradient_checkpointing: bool, **values: Any) -> Transformer:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "vocabulary_size": 31,
        "d_model": 24,
        "n_heads": 4,
        "d_feed_forward": 37,
        "n_layers": 3,
        "dropout": 0.2,
        "attention_dropout": 0.2,
        "layer_dropout": 0.2,
        "gradient_checkpointing": gradient_checkpointing,
    }
    return Transformer(**{"shape": "encoder_decoder", **sizes, **values})


def step(model: Transformer) -> tuple[Tensor, int]:
    """A training step's output, and the bytes that its backward pass was kept waiting for."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    torch.manual_seed(2)
    ids = torch.randint(31, (3, 17))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        output = model.features(ids, LAYOUT)
    in_forward = sum(kept.values())
    output.square().sum().backward()
    return output, in_forward


@pytest.mark.parametrize(
    "values",
    [{}, {"positions": "relative", "norm_position": "pre"}, {"attention": "windowed", "window": 4}],
)
def test_losses_and_gradients_are_the_same_to_the_bit(values: dict[str, Any]) -> None:
    """Dropout draws the same numbers again."""
    models = [build(gradient_checkpointing=on, **values) for on in (False, True)]
    (plain, plain_kept), (checkpointed, kept) = (step(model) for model in models)
    assert torch.equal(checkpointed, plain)
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first.grad, second.grad)  # type: ignore[arg-type]
    assert kept < plain_kept / 3


def test_a_cache_is_filled_once() -> None:
    """Even while training, with gradients."""
    model = build(gradient_checkpointing=True, shape="decoder", dropout=0.0, layer_dropout=0.0)
    cache = model.new_cache()
    model.decode(torch.randint(31, (3, 5)), cache=cache).sum().backward()
    assert cache.layers[0].key is not None
    assert cache.layers[0].key.shape[2] == 5
