"""Scaled dot-product attention, softmax(q k^T / sqrt(K)) v (Vaswani et al. 2017, section 3.2.1).

One signature, several kernels. `reference_attention` is the definition, written as in the paper;
every other kernel is tested against it, forward, backward and masked.

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import functools
import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.backbone.dropout import dropout

FUSED_FROM = 1024
"""Keys from which on torch's fused kernel is faster on a CPU in training too."""

FEW_QUERIES = 8
"""Queries of a row up to which it is not: those of one step of decoding."""


class Kernel(Protocol):
    """How queries gather values.

    Args:
        query: (B, H, Tq, K).
        key: (B, G, Tk, K); G divides H, and H / G heads in a row share one key and value.
        value: (B, G, Tk, K).
        mask: Bool, broadcastable to (B, H, Tq, Tk), True means "may attend"; None: everything may
            be attended to. A query with nothing to attend to gets zeros.
        bias: Float, broadcastable to (B, H, Tq, Tk), added to the scores; None: nothing.
        causal: Query t sees keys 0..t only; needs Tq == Tk. May be combined with `mask`.
        dropout_p: Probability of dropping an attention weight; 0 outside training.

    Returns:
        (B, H, Tq, K).
    """

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
    ) -> Tensor: ...


def share_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, G, Tk, K) -> (B, H, Tk, K), each key or value once for every head of its group."""
    groups = x.shape[1]
    return x if groups == n_heads else x.repeat_interleave(n_heads // groups, dim=1)


def causal_mask(length: int, device: torch.device) -> Tensor:
    """(T, T) bool: query t may attend to keys 0..t."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def combine(mask: Tensor | None, causal: bool, query: Tensor) -> Tensor | None:
    """The mask with the causal triangle in it."""
    if not causal:
        return mask
    lower = causal_mask(query.shape[-2], query.device)
    return lower if mask is None else mask & lower


def masked_softmax(scores: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Attention weights over the last dimension, in fp32; rows with nothing to attend to are zeros.

    Args:
        scores: (B, H, Tq, Tk).
        mask: As in `Kernel`; likewise `bias`.
    """
    dtype = scores.dtype
    if bias is not None:
        scores = scores.float() + bias
    if mask is None:
        return scores.softmax(-1, dtype=torch.float32).to(dtype)
    # A finite minimum keeps the softmax of an empty row free of NaN, backward too.
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(-1).masked_fill(~mask, 0.0).to(dtype)


def scaled_scores(query: Tensor, key: Tensor) -> Tensor:
    """q k^T / sqrt(K): (B, H, Tq, K), (B, G, Tk, K) -> (B, H, Tq, Tk)."""
    key = share_heads(key, query.shape[1])
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def attention_weights(
    query: Tensor,
    key: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """The weights (B, H, Tq, Tk) that `reference_attention` gives to the values."""
    return masked_softmax(scaled_scores(query, key), combine(mask, causal, query), bias)


def reference_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """The definition; see `Kernel`."""
    weights = attention_weights(query, key, mask=mask, bias=bias, causal=causal)
    value = share_heads(value, query.shape[1])
    return dropout(weights, dropout_p, training=True) @ value  # (B, H, Tq, K)


def sdpa_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """torch's fused kernels (FlashAttention, Dao 2023, and others); see `Kernel`."""
    fused = functools.partial(
        F.scaled_dot_product_attention,
        query,
        key,
        value,
        dropout_p=dropout_p,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    if bias is not None:
        bias = bias.to(query.dtype)
    if mask is None and bias is None:
        return fused(is_causal=causal)
    mask = combine(mask, causal, query)
    if mask is None:
        return fused(attn_mask=bias)
    # Not every fused kernel gives zeros for an empty row, so such rows attend to everything and
    # are zeroed afterwards: no NaN is made, forward or backward.
    empty = ~mask.any(-1, keepdim=True)  # (B, 1, 1 or Tq, 1)
    none_empty = mask.device.type == "cpu" and not bool(empty.any())
    allowed = mask if none_empty else mask | empty
    if bias is not None:
        allowed = bias.masked_fill(~allowed, float("-inf"))
    attended = fused(attn_mask=allowed)
    return attended if none_empty else attended.masked_fill(empty, 0.0)


def auto_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """The kernel that measured fastest (docs/notes/speed.md, docs/results.md); see `Kernel`."""
    kernel: Kernel = sdpa_attention
    fused = dropout_p == 0.0 and bias is None and key.shape[2] >= FUSED_FROM
    if query.device.type == "cpu" and not fused:
        if torch.is_grad_enabled():
            from heed.backbone.batched_attention import batched_attention  # built on this module

            kernel = batched_attention
        elif dropout_p > 0.0 or query.shape[2] <= FEW_QUERIES:
            kernel = reference_attention
    return kernel(query, key, value, mask=mask, bias=bias, causal=causal, dropout_p=dropout_p)


KERNELS: dict[str, Kernel] = {
    "auto": auto_attention,
    "reference": reference_attention,
    "sdpa": sdpa_attention,
}
