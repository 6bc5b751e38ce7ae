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
from heed.backbone.norms import add_and_normalize
from heed.backbone.packed import Segments
from heed.backbone.positions import Rotation

NormPosition = Literal["pre", "post", "sandwich", "parallel", "parallel_one_norm"]


class Residual(nn.Module):
    """A sublayer's output is dropped out and added to its input, with a norm before or after.

    Args:
        norm: The norm of this sublayer.
        pre: Whether the norm comes before the sublayer, x + f(norm(x)), which trains without a
            warm-up (Xiong et al. 2020), or last as in 2017, norm(x + f(x)).
        dropout: Probability of dropping an element of the sublayer's output.
    """

    def __init__(self, *, norm: nn.Module, pre: bool, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.pre = pre
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.pre:
            return self.dropout.add(x, sublayer(self.norm(x)))
        return add_and_normalize(self.norm, self.dropout, x, sublayer(x))


class SandwichResidual(nn.Module):
    """What goes into a sublayer is normalised, and what comes out of it before it is added:
    x + norm(f(norm(x))) (Ding et al. 2021; as in Gemma 2).

    Args:
        norm: The norm of what goes in.
        output_norm: The norm of what comes out.
        dropout: Probability of dropping an element of what is added.
    """

    def __init__(self, *, norm: nn.Module, output_norm: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.output_norm = output_norm
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.dropout.add(x, self.output_norm(sublayer(self.norm(x))))


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
        residual: Callable[[], Residual | SandwichResidual],
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
        mask: Tensor | Segments | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | Segments | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            x: (B, T, D).
            mask: Of the self attention, see `MultiHeadAttention.forward`; likewise `bias`,
                `causal`, `rotation` and `cache`.
            memory: (B, S, D).
            memory_mask: Of the cross attention.

        Returns:
            (B, T, D).
        """
        x = self.self_attention_residual(
            x,
            lambda y: self.self_attention(
                y, mask=mask, bias=bias, causal=causal, rotation=rotation, cache=cache
            ),
        )
        cross = self.cross_attention
        if cross is not None and self.cross_attention_residual is not None:
            x = self.cross_attention_residual(
                x, lambda y: cross(y, memory, mask=memory_mask, cache=cache)
            )
        return self.feed_forward_residual(x, self.feed_forward)


class ParallelBlock(nn.Module):
    """Self attention and feed-forward side by side: x + attention(norm(x)) + network(norm(x)).

    As in GPT-J (Wang and Komatsuzaki 2021) and PaLM (Chowdhery et al. 2022, section 2) with one
    norm for both, in GPT-NeoX (Black et al. 2022) with two.

    Args:
        self_attention: Attention within the sequence.
        feed_forward: The position-wise network.
        attention_norm: The norm before the attention.
        feed_forward_norm: The norm before the network; may be the same.
        dropout: Probability of dropping an element of what is added.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        feed_forward: FeedForward,
        attention_norm: nn.Module,
        feed_forward_norm: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.feed_forward = feed_forward
        self.attention_norm = attention_norm
        self.feed_forward_norm = feed_forward_norm
        self.dropout = Dropout(p=dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | Segments | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | Segments | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """As `Block.forward`, without a memory: (B, T, D) -> (B, T, D)."""
        assert memory is None, "a parallel block has no cross attention"
        assert memory_mask is None
        attended = self.self_attention(
            self.attention_norm(x),
            mask=mask,
            bias=bias,
            causal=causal,
            rotation=rotation,
            cache=cache,
        )
        changed = self.feed_forward(self.feed_forward_norm(x))
        return self.dropout.add(self.dropout.add(x, attended), changed)
