"""Scaled dot-product attention, softmax(q k^T / sqrt(K)) v (Vaswani et al. 2017, section 3.2.1).

One signature, several kernels. `reference_attention` is the definition, written as in the paper;
every other kernel is tested against it, forward, backward and masked.

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.backbone.dropout import dropout


class Kernel(Protocol):
    """How queries gather values.

    Args:
        query: (B, H, Tq, K).
        key: (B, G, Tk, K); G divides H, and H / G heads in a row share one key and value.
        value: (B, G, Tk, K).
        mask: Bool, broadcastable to (B, H, Tq, Tk), True means "may attend"; None: everything may
            be attended to. A query with nothing to attend to gets zeros.
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


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Attention weights over the last dimension, in fp32; rows with nothing to attend to are zeros.

    Args:
        scores: (B, H, Tq, Tk).
        mask: As in `Kernel`.
    """
    dtype = scores.dtype
    if mask is None:
        return scores.softmax(-1, dtype=torch.float32).to(dtype)
    # A finite minimum keeps the softmax of an empty row free of NaN, backward too.
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(-1).masked_fill(~mask, 0.0).to(dtype)


def attention_weights(
    query: Tensor, key: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """The weights (B, H, Tq, Tk) that `reference_attention` gives to the values."""
    key = share_heads(key, query.shape[1])
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, H, Tq, Tk)
    return masked_softmax(scores, combine(mask, causal, query))


def reference_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """The definition; see `Kernel`."""
    weights = attention_weights(query, key, mask=mask, causal=causal)
    value = share_heads(value, query.shape[1])
    return dropout(weights, dropout_p, training=True) @ value  # (B, H, Tq, K)


def sdpa_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """torch's fused kernels (FlashAttention, Dao 2023, and others); see `Kernel`."""
    grouped = key.shape[1] != query.shape[1]
    if mask is None:
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=causal, dropout_p=dropout_p, enable_gqa=grouped
        )
    mask = combine(mask, causal, query)
    assert mask is not None
    # Not every fused kernel gives zeros for an empty row, so such rows attend to everything and
    # are zeroed afterwards: no NaN is made, forward or backward.
    empty = ~mask.any(-1, keepdim=True)  # (B, 1, 1 or Tq, 1)
    if mask.device.type == "cpu" and not bool(empty.any()):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout_p, enable_gqa=grouped
        )
    attended = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask | empty, dropout_p=dropout_p, enable_gqa=grouped
    )
    return attended.masked_fill(empty, 0.0)


def auto_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """The kernel that measured fastest (docs/notes/speed.md); see `Kernel`."""
    kernel: Kernel = sdpa_attention
    if query.device.type == "cpu" and (dropout_p > 0.0 or torch.is_grad_enabled()):
        kernel = reference_attention
    return kernel(query, key, value, mask=mask, causal=causal, dropout_p=dropout_p)


KERNELS: dict[str, Kernel] = {
    "auto": auto_attention,
    "reference": reference_attention,
    "sdpa": sdpa_attention,
}
