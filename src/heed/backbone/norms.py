"""Normalisation of each position's vector.

Legend: B batch, T positions, D model width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from heed.backbone.dropout import Dropout
from heed.backbone.norm_operator import can_normalize, normalize

NormKind = Literal["layer_norm", "rms_norm"]


class LayerNorm(nn.LayerNorm):
    """torch's, with kernels of Heed's own in compiled training steps on a GPU."""

    centered = True

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if not (_in_compiled_step(self) and can_normalize(x)):
            return super().forward(x)
        return normalize(x, self.weight, self.bias, epsilon=self.eps, centered=True)


class RMSNorm(nn.RMSNorm):
    """torch's, with kernels of Heed's own in compiled training steps on a GPU."""

    centered = False
    bias = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        assert self.eps is not None
        if not (_in_compiled_step(self) and can_normalize(x)):
            return super().forward(x)
        return normalize(x, self.weight, None, epsilon=self.eps, centered=False)


def build_norm(kind: NormKind, d_model: int, *, bias: bool, epsilon: float) -> nn.Module:
    """A norm over the last dimension: (..., D) -> (..., D).

    Args:
        kind: "layer_norm" (Ba et al. 2016) or "rms_norm" (Zhang and Sennrich 2019), which has no
            mean to subtract and no bias.
        d_model: D.
        bias: Whether a layer norm has one.
        epsilon: Added to the variance.
    """
    if kind == "layer_norm":
        return LayerNorm(d_model, eps=epsilon, bias=bias)
    return RMSNorm(d_model, eps=epsilon)


def add_and_normalize(norm: nn.Module, dropout: Dropout, x: Tensor, y: Tensor) -> Tensor:
    """`norm(x + dropout(y))`, the end of a sublayer of 2017, in one pass where that can be.

    Args:
        norm: Of D numbers.
        dropout: Of `y`.
        x: (B, T, D); likewise `y`.
    """
    own = type(norm) in (LayerNorm, RMSNorm) and not norm._forward_hooks
    if not (own and _in_compiled_step(norm) and can_normalize(x, y)):
        return norm(dropout.add(x, y))
    assert isinstance(norm, LayerNorm | RMSNorm)
    assert norm.eps is not None
    return normalize(
        *(x, norm.weight, norm.bias),
        epsilon=norm.eps,
        centered=norm.centered,
        added=y,
        dropout=dropout.p if dropout.training else 0.0,
    )


def _in_compiled_step(norm: nn.Module) -> bool:
    """Elsewhere a kernel takes longer to start than to run."""
    return norm.training and torch.compiler.is_compiling()
