"""One layer of a Transformer (Vaswani et al. 2017, section 3.1).

Legend: B batch, T positions, S memory length, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.cache import LayerCache
from heed.backbone.dropout import Dropout
from heed.backbone.feed_forward import FeedForward
from heed.backbone.positions import Rotation

NormPosition = Literal["pre", "post"]


class Residual(nn.Module):
    """A sublayer's output is dropped out and added to its input, with a norm before or after.

    Args:
        norm: The norm of this sublayer.
        norm_position: "post" as in 2017: norm(x + f(x)); "pre": x + f(norm(x)), which trains
            without a warm-up (Xiong et al. 2020).
        dropout: Probability of dropping an element of the sublayer's output.
    """

    def __init__(self, *, norm: nn.Module, norm_position: NormPosition, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.pre = norm_position == "pre"
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.pre:
            return self.dropout.add(x, sublayer(self.norm(x)))
        return self.norm(self.dropout.add(x, sublayer(x)))


class Block(nn.Module):
    """Self attention, cross attention where there is a memory, and feed-forward.

    Args:
        self_attention: Attention within the sequence.
        cross_attention: Attention to a memory; None in an encoder and in a decoder on its own.
        feed_forward: The position-wise network.
        residual: Makes the residual connection of one sublayer, with a norm of its own.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        cross_attention: MultiHeadAttention | None,
        feed_forward: FeedForward,
        residual: Callable[[], Residual],
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.self_attention_residual = residual()
        self.cross_attention = cross_attention
        self.cross_attention_residual = None if cross_attention is None else residual()
        self.feed_forward = feed_forward
        self.feed_forward_residual = residual()

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            x: (B, T, D).
            mask: Of the self attention, see `MultiHeadAttention.forward`; likewise `causal`,
                `rotation` and `cache`.
            memory: (B, S, D).
            memory_mask: Of the cross attention.

        Returns:
            (B, T, D).
        """
        x = self.self_attention_residual(
            x,
            lambda y: self.self_attention(
                y, mask=mask, causal=causal, rotation=rotation, cache=cache
            ),
        )
        cross = self.cross_attention
        if cross is not None and self.cross_attention_residual is not None:
            x = self.cross_attention_residual(
                x, lambda y: cross(y, memory, mask=memory_mask, cache=cache)
            )
        return self.feed_forward_residual(x, self.feed_forward)
