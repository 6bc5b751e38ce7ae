"""Normalisation of each position's vector.

Legend: B batch, T positions, D model width.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

NormKind = Literal["layer_norm", "rms_norm"]


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
        return nn.LayerNorm(d_model, eps=epsilon, bias=bias)
    return nn.RMSNorm(d_model, eps=epsilon)
