"""Additive attention: a feed-forward score with a non-linearity (Bahdanau et al. 2015, A.1.2).

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from heed.backbone.dropout import dropout
from heed.backbone.kernels import combine, masked_softmax, share_heads

HIDDEN_AT_ONCE = 2**26
"""Elements of the hidden layer (B, H, Tq, Tk, K) that exist at the same time."""


class AdditiveAttention(nn.Module):
    """Attention whose score is v . tanh(W s + U h), one v a head; a `Kernel` with a parameter.

    W s and U h are the query and key projections that multi-head attention has made already, so
    only v is left to add. The work grows with Tq * Tk * K, none of it a matrix product: slow.

    Args:
        n_heads: H.
        head_width: K.
    """

    def __init__(self, *, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(n_heads, head_width))
        nn.init.normal_(self.v, std=head_width**-0.5)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(B, H, Tq, K), (B, H, Tk, K) -> (B, H, Tq, Tk)."""
        hidden = torch.tanh(query[:, :, :, None] + key[:, :, None])  # (B, H, Tq, Tk, K)
        return (hidden @ self.v[:, None, :, None].to(hidden.dtype)).squeeze(-1)

    def weights(
        self,
        query: Tensor,
        key: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """The weights (B, H, Tq, Tk) given to the values.

        The hidden layer of long rows is made for some queries at a time, and made again for the
        backward pass, so that it never fills the memory.
        """
        key = share_heads(key, query.shape[1])  # (B, G, Tk, K) -> (B, H, Tk, K)
        step = max(1, HIDDEN_AT_ONCE // key.numel())
        if step >= query.shape[2]:
            scores = self.scores(query, key)
        else:
            parts = [
                checkpoint(self.scores, part, key, use_reentrant=False, preserve_rng_state=False)
                for part in query.split(step, dim=2)
            ]
            scores = torch.cat(parts, dim=2)
        return masked_softmax(scores, combine(mask, causal, query), bias)

    def forward(
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
        """See `heed.backbone.kernels.Kernel`."""
        weights = self.weights(query, key, mask=mask, bias=bias, causal=causal)
        value = share_heads(value, query.shape[1])
        return dropout(weights, dropout_p, training=True) @ value  # (B, H, Tq, K)
