"""Which label a text has.

Legend: B batch, T positions, D model width, C labels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from heed.backbone.dropout import Dropout
from heed.backbone.layout import Padded

Pooling = Literal["first", "pooled", "mean", "last"]


def pooling_for(pooling: Pooling | Literal["auto"], shape: str) -> Pooling:
    """How a backbone of this shape is pooled, if that is left to it: a decoder at its last token,
    the only one that has read everything; others over all tokens.
    """
    if pooling != "auto":
        return pooling
    return "last" if shape == "decoder" else "mean"


class LabelHead(nn.Module):
    """Pools a text to one vector and scores each label.

    Args:
        d_model: D.
        n_labels: C.
        pooling: "first" position, "pooled" (the first through a layer and tanh of its own, as the
            code of Devlin et al. 2019 does), "mean" over the tokens, or the "last" token (for a
            decoder, which has then read everything).
        dropout: Probability of dropping an element of the pooled vector.
    """

    def __init__(
        self,
        *,
        d_model: int,
        n_labels: int,
        pooling: Pooling = "first",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = Dropout(p=dropout)
        self.pooler: nn.Module = nn.Identity()
        if pooling == "pooled":
            self.pooler = nn.Sequential(_linear(d_model, d_model), nn.Tanh())
        self.output = _linear(d_model, n_labels)

    def pool(self, hidden: Tensor, layout: Padded) -> Tensor:
        """(B, T, D) -> (B, D); padding is not looked at."""
        if self.pooling in ("first", "pooled"):
            return self.pooler(hidden[:, 0])
        if self.pooling == "last":
            rows = torch.arange(layout.rows, device=hidden.device)
            return hidden[rows, (layout.lengths - 1).clamp(min=0)]
        real = layout.mask()[..., None]  # (B, T, 1)
        total = hidden.float().masked_fill(~real, 0.0).sum(1)  # (B, D)
        return (total / layout.lengths.clamp(min=1)[:, None]).to(hidden.dtype)

    def forward(self, hidden: Tensor, layout: Padded) -> Tensor:
        """(B, T, D) -> logits (B, C)."""
        return self.output(self.dropout(self.pool(hidden, layout)))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
