"""Scores that cannot grow beyond a bound (Bello et al. 2016; Gemma 2: Riviere et al. 2024).

Legend: B batch, H heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heed.backbone.dropout import dropout
from heed.backbone.kernels import combine, masked_softmax, scaled_scores, share_heads


def soft_cap(scores: Tensor, cap: float) -> Tensor:
    """cap * tanh(scores / cap): nearly the identity for small scores, never beyond the cap."""
    return torch.tanh(scores / cap) * cap


class CappedAttention:
    """Scaled dot-product attention with a soft cap on its scores; a `Kernel`.

    Args:
        cap: The bound, in units of scaled scores.
    """

    def __init__(self, *, cap: float) -> None:
        self.cap = cap

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
        """See `heed.backbone.kernels.Kernel`; the bias is added to capped scores."""
        scores = soft_cap(scaled_scores(query, key), self.cap)
        weights = masked_softmax(scores, combine(mask, causal, query), bias)
        value = share_heads(value, query.shape[1])
        return dropout(weights, dropout_p, training=True) @ value  # (B, H, Tq, K)
