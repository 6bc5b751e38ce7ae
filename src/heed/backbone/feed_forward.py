"""The position-wise feed-forward network (Vaswani et al. 2017, section 3.3).

Legend: B batch, T positions, D model width, F inner width.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from heed.backbone.dropout import Dropout

Activation = Literal["relu", "gelu", "gelu_tanh", "swiglu"]


class FeedForward(nn.Module):
    """Widen, bend, narrow: (B, T, D) -> (B, T, F) -> (B, T, D).

    Args:
        d_model: D.
        d_feed_forward: F.
        activation: "relu" (2017), "gelu" (Hendrycks and Gimpel 2016), "gelu_tanh" (its
            approximation, as in GPT-2), or "swiglu" (Shazeer 2020), whose input projection is
            twice as wide: first half gate, second half value.
        activation_dropout: Probability of dropping an inner activation.
        bias: Whether the projections have one.
    """

    def __init__(
        self,
        *,
        d_model: int,
        d_feed_forward: int,
        activation: Activation = "relu",
        activation_dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        inner = 2 * d_feed_forward if activation == "swiglu" else d_feed_forward
        self.input = nn.Linear(d_model, inner, bias=bias)
        self.output = nn.Linear(d_feed_forward, d_model, bias=bias)
        self.dropout = Dropout(p=activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.input(x)  # (B, T, F), or (B, T, 2F) for swiglu
        if self.activation == "relu":
            hidden = F.relu(hidden)
        elif self.activation == "gelu":
            hidden = F.gelu(hidden)
        elif self.activation == "gelu_tanh":
            hidden = F.gelu(hidden, approximate="tanh")
        else:
            gate, value = hidden.chunk(2, dim=-1)  # 2 x (B, T, F)
            hidden = F.silu(gate) * value
        return self.output(self.dropout(hidden))
