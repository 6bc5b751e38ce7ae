"""The position-wise feed-forward network (Vaswani et al. 2017, section 3.3).

Legend: B batch, T positions, D model width, F inner width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.backbone.dropout import Dropout
from heed.backbone.linear_relu import has_linear_relu, linear_relu

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"]
Bend = Callable[[Tensor], Tensor]

PLAIN: dict[str, Bend] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
GATED: dict[str, Bend] = {
    "swiglu": F.silu,
    "geglu": PLAIN["gelu"],
    "geglu_tanh": PLAIN["gelu_tanh"],
}
"""What bends the gate; it is then multiplied by a value (Shazeer 2020)."""


class FeedForward(nn.Module):
    """Widen, bend, narrow: (B, T, D) -> (B, T, F) -> (B, T, D).

    Args:
        d_model: D.
        d_feed_forward: F.
        activation: "relu" (2017), "gelu" (Hendrycks and Gimpel 2016), "gelu_tanh" (its
            approximation, as in GPT-2), "silu" (Elfwing et al. 2018; "swish" in Marian); or with a
            gate, "swiglu", "geglu" and "geglu_tanh" (Shazeer 2020), whose input projection is twice
            as wide: first half gate, second half value.
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
        self.gated = activation in GATED
        self.bend = {**PLAIN, **GATED}[activation]
        self.widths = (2 if self.gated else 1) * (d_feed_forward,)
        """Of the gate where there is one, and of the value: F each."""
        self.input = nn.Linear(d_model, sum(self.widths), bias=bias)
        self.output = nn.Linear(d_feed_forward, d_model, bias=bias)
        self.dropout = Dropout(p=activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self._fused(x):
            hidden = linear_relu(x, self.input.weight, self.input.bias)
            return self.output(self.dropout(hidden))
        hidden = self.input(x)  # (B, T, F), or (B, T, 2F) with a gate
        if self.gated:
            gate, value = hidden.chunk(2, dim=-1)  # 2 x (B, T, F)
            hidden = self.bend(gate) * value
        else:
            hidden = self.bend(hidden)
        return self.output(self.dropout(hidden))

    def _fused(self, x: Tensor) -> bool:
        step = self.training and torch.compiler.is_compiling()
        return step and self.bend is F.relu and has_linear_relu(self.input, x)
