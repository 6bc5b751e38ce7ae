"""Additive attention: a feed-forward score with a non-linearity (Bahdanau et al. 2015, A.1.2).

Legend: B batch, H heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.backbone.dropout import dropout
from heed.backbone.kernels import combine, masked_softmax


class AdditiveAttention(nn.Module):
    """Attention whose score is v . tanh(W s + U h), one v a head; a `Kernel` with a parameter.

    W s and U h are the query and key projections that multi-head attention has made already, so
    only v is left to add. Memory grows with Tq * Tk * K: K times that of the dot product.

    Args:
        n_heads: H.
        head_width: K.
    """

    def __init__(self, *, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(n_heads, head_width))
        nn.init.normal_(self.v, std=head_width**-0.5)

    def weights(
        self, query: Tensor, key: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """The weights (B, H, Tq, Tk) given to the values."""
        hidden = torch.tanh(query[:, :, :, None] + key[:, :, None])  # (B, H, Tq, Tk, K)
        scores = (hidden @ self.v[:, None, :, None].to(hidden.dtype)).squeeze(-1)
        return masked_softmax(scores, combine(mask, causal, query))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """See `heed.backbone.kernels.Kernel`."""
        weights = self.weights(query, key, mask=mask, causal=causal)
        return dropout(weights, dropout_p, training=True) @ value  # (B, H, Tq, K)
