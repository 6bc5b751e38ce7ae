"""Packed rows against padded ones, forward and backward, in every shape of the backbone.

Legend: R rows, T positions of a padded row, N positions of the packed row, D model width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.packed import Packed, pack, unpack
from heed.backbone.transformer import Transformer

V = 31
SOURCE = Padded(torch.tensor([13, 5, 1, 9]), 13)
TARGET = Padded(torch.tensor([7, 2, 11, 3]), 11)


def build(**values: Any) -> Transformer:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "shape": "encoder_decoder",
        "vocabulary_size": V,
        "d_model": 24,
        "n_heads": 4,
        "d_feed_forward": 37,
        "n_layers": 2,
        "dropout": 0.0,
    }
    return Transformer(**{**sizes, **values})


def tokens(layout: Padded) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(V, (layout.rows, layout.width))


def outcome(model: Transformer, *, packed: bool, room: int = 0) -> list[Tensor]:
    """What each row's tokens become, and every gradient of it."""
    source, target = tokens(SOURCE), tokens(TARGET)
    rows: Padded | Packed = SOURCE
    others: Padded | Packed = TARGET
    if packed:
        source, rows = pack(source, SOURCE, int(SOURCE.lengths.sum()) + room)
        target, others = pack(target, TARGET, int(TARGET.lengths.sum()) + 2 * room)
    if model.shape == "encoder_decoder":
        hidden, last = model.decode(target, others, model.encode(source, rows), rows), TARGET
    else:
        hidden, last = model.features(source, rows), SOURCE
    if isinstance(others, Packed) and isinstance(rows, Packed):
        hidden = unpack(hidden, others if last is TARGET else rows, last.width)
    hidden = hidden.masked_fill(~last.mask()[..., None], 0.0)
    torch.manual_seed(3)
    model.zero_grad()
    (hidden * torch.randn(hidden.shape)).sum().backward()
    gradients = [p.grad for p in model.parameters()]
    return [hidden, *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"n_kv_heads": 2, "norm_position": "pre"},
        {"positions": "learned", "kernel": "sdpa", "gradient_checkpointing": True},
        {"positions": "rotary", "attention": "windowed", "window": 3, "n_kv_heads": 2},
        {"positions": "relative", "attention_soft_cap": 2.0},
        {"positions": "alibi", "kernel": "flex", "head_width": 16},
        {"attention": "additive", "norm_position": "pre"},
    ],
    ids=lambda values: "-".join(map(str, values.values())) or "default",
)
@pytest.mark.parametrize("room", [0, 3])
def test_packed_rows_give_what_padded_ones_give(
    shape: str, values: dict[str, Any], room: int
) -> None:
    model = build(shape=shape, **values)
    results = [outcome(model, packed=False), outcome(model, packed=True, room=room)]
    assert len(results[0]) > 10
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
