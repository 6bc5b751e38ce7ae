"""From numbers and names to the parts of a Transformer.

Legend: D model width, F inner width, L layers, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from heed.backbone.additive import AdditiveAttention
from heed.backbone.attention import MultiHeadAttention
from heed.backbone.block import Block, NormPosition, Residual
from heed.backbone.embeddings import Embeddings
from heed.backbone.feed_forward import Activation, FeedForward
from heed.backbone.kernels import KERNELS, Kernel
from heed.backbone.norms import NormKind, build_norm
from heed.backbone.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from heed.backbone.stack import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """The values that a `Transformer` hands to its parts, and those parts; meanings as there."""

    d_model: int
    n_heads: int
    n_kv_heads: int | None
    head_width: int | None
    d_feed_forward: int
    max_length: int
    norm: NormKind
    norm_position: NormPosition
    norm_epsilon: float
    embedding_norm: bool
    positions: Literal["sinusoidal", "learned", "rotary"]
    rotary_base: float
    scale_embeddings: bool | None
    activation: Activation
    attention: Literal["scaled_dot_product", "additive"]
    kernel: Literal["auto", "reference", "sdpa"]
    bias: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float
    embedding_dropout: float | None
    layer_dropout: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parts:
        """Those of the arguments of a `Transformer` that are meant for its parts."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})

    def build_stack(self, tokens: nn.Embedding, n_layers: int, *, cross: bool) -> Stack:
        """Embeddings over the table `tokens` and `n_layers` blocks, with cross attention or not."""
        rotary = self.positions == "rotary"
        return Stack(
            embeddings=self._embeddings(tokens),
            rotary=(
                RotaryPositions(head_width=self._head_width, base=self.rotary_base)
                if rotary
                else None
            ),
            layers=[self._block(cross=cross) for _ in range(n_layers)],
            norm=self._norm() if self.norm_position == "pre" else None,
            layer_dropout=self.layer_dropout,
        )

    def _embeddings(self, tokens: nn.Embedding) -> Embeddings:
        positions: LearnedPositions | SinusoidalPositions | None = None
        if self.positions == "learned":
            positions = LearnedPositions(max_length=self.max_length, d_model=self.d_model)
        elif self.positions == "sinusoidal":
            positions = SinusoidalPositions(max_length=self.max_length, d_model=self.d_model)
        scaled = self.scale_embeddings
        if scaled is None:
            scaled = self.positions == "sinusoidal"
        dropout = self.embedding_dropout
        return Embeddings(
            tokens=tokens,
            positions=positions,
            scale=math.sqrt(self.d_model) if scaled else 1.0,
            norm=self._norm() if self.embedding_norm else None,
            dropout=self.dropout if dropout is None else dropout,
        )

    def _block(self, *, cross: bool) -> Block:
        return Block(
            self_attention=self._attention(cross=False),
            cross_attention=self._attention(cross=True) if cross else None,
            feed_forward=FeedForward(
                d_model=self.d_model,
                d_feed_forward=self.d_feed_forward,
                activation=self.activation,
                activation_dropout=self.activation_dropout,
                bias=self.bias,
            ),
            residual=lambda: Residual(
                norm=self._norm(), norm_position=self.norm_position, dropout=self.dropout
            ),
        )

    def _attention(self, *, cross: bool) -> MultiHeadAttention:
        kernel: Kernel = KERNELS[self.kernel]
        if self.attention == "additive":
            kernel = AdditiveAttention(n_heads=self.n_heads, head_width=self._head_width)
        return MultiHeadAttention(
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            head_width=self.head_width,
            cross=cross,
            kernel=kernel,
            dropout=self.attention_dropout,
            bias=self.bias,
        )

    @property
    def _head_width(self) -> int:
        """K."""
        return self.head_width or self.d_model // self.n_heads

    def _norm(self) -> nn.Module:
        return build_norm(self.norm, self.d_model, bias=self.bias, epsilon=self.norm_epsilon)
