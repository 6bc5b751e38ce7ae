"""Which blocks of queries and keys have anything to do with each other, for flex attention.

Made from lengths, windows and segments block by block, so that no (Tq, Tk) mask is: a row of T
positions costs (T / C)^2 numbers.

Legend: B batch, H heads, Tq queries, Tk keys, C block length, Nq and Nk blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
"""C, what flex attention computes by default."""


class Rules(NamedTuple):
    """What must hold for a query to see a key, all of it.

    Attributes:
        causal: The key is not after the query.
        window: The key is at most so far away; None: no matter how far.
        real: (1 or B, Tk) bool, the key is one of these; None: any.
        pairs: (1 or B, 1 or H, Tq, Tk) bool, the pair is one of these; None: any.
        query_segments: (Tq,) the segment of each query, in rising order: the key's is the same.
            None: no matter which.
        key_segments: (Tk,) likewise of each key.
    """

    causal: bool = False
    window: int | None = None
    real: Tensor | None = None
    pairs: Tensor | None = None
    query_segments: Tensor | None = None
    key_segments: Tensor | None = None


def block_mask(rules: Rules, queries: int, keys: int, device: torch.device) -> BlockMask:
    """What `flex_attention` takes: the blocks to compute, and which of them in full.

    Args:
        rules: What must hold.
        queries: Tq.
        keys: Tk.
        device: Of the tensors.
    """
    some, every = _blocks(rules, queries, keys, device)
    partial, whole = _listed(some & ~every), _listed(every)
    return BlockMask.from_kv_blocks(
        *partial, *whole, BLOCK_SIZE=BLOCK, mask_mod=may_attend(rules), seq_lengths=(queries, keys)
    )


def may_attend(rules: Rules) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The rules as a function of row, head, query and key, each () or a grid of numbers."""
    causal, window, real, pairs, query_segments, key_segments = rules
    row_by_row = real is not None and real.shape[0] > 1
    pairs_by_row = pairs is not None and pairs.shape[0] > 1
    pairs_by_head = pairs is not None and pairs.shape[1] > 1

    def rule(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = q >= k if causal else q >= 0
        if window is not None:
            allowed = allowed & (q - k <= window) & (k - q <= window)
        if real is not None:
            allowed = allowed & real[b if row_by_row else b * 0, k]
        if pairs is not None:
            allowed = (
                allowed & pairs[b if pairs_by_row else b * 0, h if pairs_by_head else h * 0, q, k]
            )
        if query_segments is not None and key_segments is not None:
            allowed = allowed & (query_segments[q] == key_segments[k])
        return allowed

    return rule


def _blocks(rules: Rules, queries: int, keys: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two of (1 or B, 1 or H, Nq, Nk) bool: blocks that may hold pairs that see each other, and
    those where all do."""
    q_first = torch.arange(0, queries, BLOCK, device=device)[:, None]  # (Nq, 1)
    k_first = torch.arange(0, keys, BLOCK, device=device)[None]  # (1, Nk)
    q_last = (q_first + BLOCK).clamp(max=queries) - 1
    k_last = (k_first + BLOCK).clamp(max=keys) - 1
    some = torch.ones(q_first.shape[0], k_first.shape[1], dtype=torch.bool, device=device)
    every = (q_first + BLOCK <= queries) & (k_first + BLOCK <= keys)
    if rules.causal:
        some, every = some & (k_first <= q_last), every & (k_last <= q_first)
    if rules.window is not None:
        nearest = torch.maximum(k_first - q_last, q_first - k_last)
        furthest = torch.maximum(k_last - q_first, q_last - k_first)
        some, every = some & (nearest <= rules.window), every & (furthest <= rules.window)
    if rules.query_segments is not None and rules.key_segments is not None:
        # Segments rise, so a block's are those from its first to its last position's.
        q_from, q_to = rules.query_segments[q_first], rules.query_segments[q_last]
        k_from, k_to = rules.key_segments[k_first], rules.key_segments[k_last]
        some = some & (q_from <= k_to) & (k_from <= q_to)
        every = every & (q_from == q_to) & (k_from == k_to) & (q_from == k_from)
    some, every = some[None, None], every[None, None]
    if rules.real is not None:
        # (B, Tk) -> (B, Nk, C) -> (B, 1, 1, Nk)
        real = F.pad(rules.real, (0, -keys % BLOCK)).unflatten(-1, (-1, BLOCK))[:, None, None]
        some, every = some & real.any(-1), every & real.all(-1)
    if rules.pairs is not None:
        # (B, H, Tq, Tk) -> (B, H, Nq, C, Nk, C) -> (B, H, Nq, Nk)
        pairs = F.pad(rules.pairs, (0, -keys % BLOCK, 0, -queries % BLOCK))
        pairs = pairs.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))
        some, every = some & pairs.any(-1).any(-2), every & pairs.all(-1).all(-2)
    return some, every


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, Nq, Nk) bool -> how many are true for each query block, and their numbers first."""
    numbers = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32), numbers.to(torch.int32)
