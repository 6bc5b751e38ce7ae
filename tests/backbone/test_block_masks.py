"""Blocks of a mask against the mask itself, written out.

Legend: B batch, H heads, Tq queries, Tk keys.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heed.backbone.block_masks import Rules, block_mask
from heed.backbone.kernels import causal_mask
from heed.backbone.packed import Packed

B, H, T = 2, 3, 700
CPU = torch.device("cpu")


def written_out(rules: Rules, queries: int, keys: int) -> Tensor:
    """(B, H, Tq, Tk) bool."""
    allowed = torch.ones(B, H, queries, keys, dtype=torch.bool)
    if rules.causal:
        allowed = allowed & causal_mask(queries, CPU)
    if rules.window is not None:
        away = torch.arange(queries)[:, None] - torch.arange(keys)
        allowed = allowed & (away.abs() <= rules.window)
    if rules.real is not None:
        allowed = allowed & rules.real[:, None, None]
    if rules.pairs is not None:
        allowed = allowed & rules.pairs
    if rules.query_segments is not None and rules.key_segments is not None:
        allowed = allowed & (rules.query_segments[:, None] == rules.key_segments)
    return allowed


def cases() -> dict[str, tuple[Rules, int, int]]:
    torch.manual_seed(1)
    real = torch.arange(T) < torch.tensor([[T], [250]])
    pairs = torch.zeros(1, H, T, T, dtype=torch.bool)
    pairs[:, 0, :130] = True
    pairs[:, 1, 300:, 120:610] = True
    source = Packed.of(torch.tensor([300, 0, 129, 1, 270]))
    target = Packed.of(torch.tensor([20, 256, 40, 7, 64]), 513)
    same, other = source.segments(), target.segments()
    return {
        "all": (Rules(), T, T),
        "blocks exactly": (Rules(causal=True), 256, 256),
        "causal": (Rules(causal=True), T, T),
        "window": (Rules(window=150), T, T),
        "window of a block": (Rules(window=128), T, T),
        "window that reaches the next block but one": (Rules(window=129), T, T),
        "narrow causal window": (Rules(window=3, causal=True), T, T),
        "padding": (Rules(real=real), 300, T),
        "one row's padding, window": (Rules(real=real[1:], window=200), T, T),
        "pairs": (Rules(pairs=pairs), T, T),
        "segments": (Rules(query_segments=same, key_segments=same, causal=True), T, T),
        "segments, window": (Rules(query_segments=same, key_segments=same, window=40), T, T),
        "two texts": (Rules(query_segments=other, key_segments=same), 513, T),
    }


@pytest.mark.parametrize("name", cases())
def test_blocks_hold_what_may_be_seen_and_leave_out_the_rest(name: str) -> None:
    rules, queries, keys = cases()[name]
    expected = written_out(rules, queries, keys)
    mask = block_mask(rules, queries, keys, CPU)
    grid = [torch.arange(n)[(..., *(None,) * after)] for n, after in ((B, 3), (H, 2))]
    rule = mask.mask_mod(*grid, torch.arange(queries)[:, None], torch.arange(keys))
    assert torch.equal(rule.expand(B, H, queries, keys), expected)
    partial, whole = (
        listed(numbers, count).expand(B, H, -1, -1)
        for numbers, count in (
            (mask.kv_indices, mask.kv_num_blocks),
            (mask.full_kv_indices, mask.full_kv_num_blocks),
        )
    )
    padded = torch.zeros(B, H, whole.shape[2] * 128, whole.shape[3] * 128, dtype=torch.bool)
    padded[..., :queries, :keys] = expected
    cut = padded.unflatten(3, (-1, 128)).unflatten(2, (-1, 128)).transpose(3, 4).flatten(4)
    some, every = cut.any(-1), cut.all(-1)  # (B, H, Nq, Nk)
    assert not (partial & whole).any()
    assert not (some & ~(partial | whole)).any()
    assert torch.equal(whole, every)
    # Blocks that could have been left out are few: those where segments meet.
    assert (partial | whole).sum() <= some.sum() + (
        B * H * 3 if rules.query_segments is not None else 0
    )


def listed(numbers: Tensor | None, count: Tensor | None) -> Tensor:
    """(B, H, Nq, Nk) numbers, the first `count` of them meant -> bool."""
    assert numbers is not None
    assert count is not None
    meant = torch.arange(numbers.shape[-1]) < count[..., None]
    return torch.zeros_like(meant).scatter(-1, numbers.long(), meant)
