"""Attention whose code does not depend on the numbers or the length, so that it can be traced.

Legend: B batch, H heads, T positions, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.automatic import AutomaticAttention
from heed.backbone.flex import FlexAttention
from heed.backbone.kernels import Kernel, reference_attention
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.windowed import WindowedAttention, near


class BandedAttention:
    """Windowed self attention as one matrix with a band for a mask; a `Kernel`.

    The numbers of `WindowedAttention`, whose chunks depend on the length, at a cost that grows with
    its square.

    Args:
        window: How far a position sees to each side; causally, to the left.
        kernel: Computes all scores.
    """

    def __init__(self, *, window: int, kernel: Kernel) -> None:
        self.window = window
        self.kernel = kernel

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
        """See `heed.backbone.kernels.Kernel`: (B, H, T, K)."""
        positions = torch.arange(query.shape[2], device=query.device)
        band = near(positions, positions, self.window)  # (1, 1, T, T)
        allowed = band if mask is None else band & mask
        return self.kernel(
            query, key, value, mask=allowed, bias=bias, causal=causal, dropout_p=dropout_p
        )


def traceable(kernel: Kernel) -> Kernel:
    """A kernel that computes the same, and can be traced."""
    if isinstance(kernel, (AutomaticAttention, FlexAttention)):
        return traceable(kernel.otherwise)
    if isinstance(kernel, WindowedAttention):
        return BandedAttention(window=kernel.window, kernel=traceable(kernel.kernel))
    if isinstance(kernel, (nn.Module, CappedAttention)):
        return kernel
    return reference_attention


def make_traceable(model: nn.Module) -> None:
    """Give every attention of a model a kernel that can be traced."""
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.kernel = traceable(module.kernel)
