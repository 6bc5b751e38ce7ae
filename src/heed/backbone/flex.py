"""Attention that is compiled for its mask (FlexAttention: Dong et al. 2024), on a GPU.

Blocks that no query may see are not computed: time and memory grow with what is looked at, so a
window costs T W, and rows packed into one another the sum of their squares.

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.weak import WeakTensorKeyDictionary

from heed.backbone.block_masks import BLOCK, Rules, block_mask
from heed.backbone.kernels import Kernel

DEVICES = ("cuda",)
"""Where it is used; elsewhere it is no faster, or has no backward pass."""
WITH_BIAS = {
    "fwd_BLOCK_M": 64,
    "fwd_BLOCK_N": 64,
    "fwd_num_stages": 2,
    "bwd_BLOCK_M1": 32,
    "bwd_BLOCK_N1": 64,
    "bwd_BLOCK_M2": 64,
    "bwd_BLOCK_N2": 32,
    "bwd_num_stages": 1,
}
"""How a bias is computed: blocks of it lie beside those of keys and values in a multiprocessor's
shared memory, and torch's own choice of blocks leaves no room for them (on an H100, which has the
most)."""


class FlexAttention:
    """Flex attention with a window and a soft cap; a `Kernel`.

    The first calls are compiled, which takes seconds each. No attention weights are dropped.

    Args:
        window: How far a query sees to each side; None: everywhere.
        cap: Bound of the scores, see `heed.backbone.soft_cap`; None: none.
        otherwise: Computes the same where there is no GPU, and for fewer queries than make a block
            (a step of decoding).
    """

    def __init__(self, *, window: int | None, cap: float | None, otherwise: Kernel) -> None:
        self.window = window
        self.cap = cap
        self.otherwise = otherwise

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """See `heed.backbone.kernels.Kernel`.

        A mask that differs from query to query, as with a key-value cache, must hold the window
        already.
        """
        if query.device.type not in DEVICES or query.shape[2] < BLOCK:
            return self.otherwise(
                query, key, value, mask=mask, bias=bias, causal=causal, dropout_p=dropout_p
            )
        assert dropout_p == 0.0, "flex attention drops no weights"
        given = query.shape[2] != key.shape[2] or (mask is not None and mask.shape[-2] > 1)
        window = None if given else self.window
        blocks = _blocks_of(mask, causal, window, query.shape[2], key.shape[2], query.device)
        return flex(query, key, value, blocks=blocks, bias=bias, cap=self.cap)


def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    blocks: BlockMask,
    bias: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """Attention over the blocks of a mask.

    Args:
        query: (B, H, Tq, K).
        key: (B, G, Tk, K); likewise `value`.
        blocks: Who may see whom.
        bias: (1 or B, 1 or H, 1 or Tq, Tk), added to the scores; None: nothing.
        cap: Bound of the scores before that; None: none.

    Returns:
        (B, H, Tq, K).
    """
    score = _score(bias, cap) if bias is not None or cap is not None else None
    grouped = query.shape[1] != key.shape[1]
    graded = torch.is_grad_enabled()
    kind = (query.dtype, graded, grouped, *_captured(score), *_captured(blocks.mask_mod))
    options = None if bias is None else WITH_BIAS
    return _compiled(kind)(query, key, value, score, blocks, grouped, options)


def _score(bias: Tensor | None, cap: float | None) -> Callable[..., Tensor]:
    by_row = bias is not None and bias.shape[0] > 1
    by_head = bias is not None and bias.shape[1] > 1
    by_query = bias is not None and bias.shape[2] > 1

    def score(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        if cap is not None:
            score = torch.tanh(score / cap) * cap
        if bias is not None:
            row, head = b if by_row else b * 0, h if by_head else h * 0
            score = score + bias[row, head, q if by_query else q * 0, k]
        return score

    return score


def _captured(function: Callable[..., Tensor] | None) -> tuple[Any, ...]:
    """What a function's code depends on: the plain values that it holds, and where tensors are."""
    cells = getattr(function, "__closure__", None) or ()
    held = (cell.cell_contents for cell in cells)
    return (function is None, *("tensor" if isinstance(x, Tensor) else x for x in held))


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score: Any,
    blocks: BlockMask,
    grouped: bool,
    options: Any,
) -> Tensor:
    found = flex_attention(
        query,
        key,
        value,
        score_mod=score,
        block_mask=blocks,
        enable_gqa=grouped,
        kernel_options=options,
    )
    assert isinstance(found, Tensor)
    return found


@functools.cache
def _compiled(kind: tuple[Any, ...]) -> Callable[..., Tensor]:
    """A compiled `_attend` of its own for each kind of mask and score. torch compiles one piece of
    code at most a few times before it gives up, so each kind gets a piece of its own."""
    code = _attend.__code__.replace(co_name=f"attend_{_compiled.cache_info().misses}")
    return torch.compile(types.FunctionType(code, globals()))


_kept = WeakTensorKeyDictionary()
"""The block masks made from each mask: all layers of a stack are given the same one."""


@torch.inference_mode(False)  # what is kept may serve a training step later
def _blocks_of(
    mask: Tensor | None,
    causal: bool,
    window: int | None,
    queries: int,
    keys: int,
    device: torch.device,
) -> BlockMask:
    if mask is None:
        return _without_mask(causal, window, queries, keys, device)
    kept = _kept.setdefault(mask, {})
    version = 0 if mask.is_inference() else mask._version
    asked = (version, causal, window, queries, keys)
    if asked not in kept:
        own = mask.clone()  # a view would hold on to the mask, and so to what is kept of it
        of_keys = own.shape[1] == own.shape[2] == 1
        rules = Rules(
            causal=causal,
            window=window,
            real=own[:, 0, 0] if of_keys else None,
            pairs=None if of_keys else own.expand(-1, -1, queries, keys),
        )
        kept[asked] = block_mask(rules, queries, keys, device)
    found: BlockMask = kept[asked]
    return found


@functools.lru_cache(maxsize=32)
def _without_mask(
    causal: bool, window: int | None, queries: int, keys: int, device: torch.device
) -> BlockMask:
    return block_mask(Rules(causal=causal, window=window), queries, keys, device)
