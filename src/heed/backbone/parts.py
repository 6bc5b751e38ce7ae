"""From numbers and names to the parts of a Transformer.

Legend: D model width, F inner width, L layers, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from heed.backbone.additive import AdditiveAttention
from heed.backbone.attention import MultiHeadAttention
from heed.backbone.automatic import AutomaticAttention
from heed.backbone.block import (
    Block,
    NormPosition,
    ParallelBlock,
    Residual,
    SandwichResidual,
)
from heed.backbone.embeddings import Embeddings
from heed.backbone.feed_forward import Activation, FeedForward
from heed.backbone.flex import FlexAttention
from heed.backbone.frequencies import RotaryScaling, scaled_frequencies
from heed.backbone.kernels import KERNELS, Kernel
from heed.backbone.norms import NormKind, build_norm
from heed.backbone.position_bias import AlibiBias, BucketBias
from heed.backbone.position_validation import rotary_width
from heed.backbone.positions import (
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    halved_sinusoidal_table,
    sinusoidal_table,
)
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.stack import Stack
from heed.backbone.windowed import WindowedAttention

AttentionKind = Literal["scaled_dot_product", "windowed", "additive"]
KernelName = Literal["auto", "reference", "sdpa", "flex"]
Positions = Literal["sinusoidal", "sinusoidal_halves", "learned", "rotary", "alibi", "relative"]
SINUSOIDAL = {"sinusoidal": sinusoidal_table, "sinusoidal_halves": halved_sinusoidal_table}


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
    first_norm: bool
    embedding_norm: bool
    n_segments: int
    positions: Positions
    rotary_base: float
    local_rotary_base: float | None
    rotary_share: float
    rotary_scaling: RotaryScaling
    rotary_factor: float
    rotary_original_length: int
    relative_buckets: int
    relative_max_distance: int
    scale_embeddings: bool | None
    activation: Activation
    attention: AttentionKind
    window: int | None
    global_layers: Sequence[int]
    kernel: KernelName
    attention_soft_cap: float | None
    qk_norm: bool
    bias: bool
    qkv_bias: bool | None
    gradient_checkpointing: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float
    embedding_dropout: float | None
    layer_dropout: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parts:
        """Those of the arguments of a `Transformer` that are meant for its parts."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})

    def build_stack(
        self, tokens: nn.Embedding, n_layers: int, *, causal: bool, cross: bool = False
    ) -> Stack:
        """Embeddings over the table `tokens` and `n_layers` blocks.

        Args:
            tokens: The table.
            n_layers: Blocks.
            causal: Whether positions see only those before them.
            cross: Whether blocks have cross attention.
        """
        windows = [None if i in self.global_layers else self.window for i in range(n_layers)]
        return Stack(
            embeddings=self._embeddings(tokens),
            rotary=self._rotary(self.rotary_base),
            local_rotary=self._rotary(self.local_rotary_base),
            position_bias=self._position_bias(causal=causal),
            layers=[self._block(i, window, cross=cross) for i, window in enumerate(windows)],
            windows=windows,
            checkpointing=self.gradient_checkpointing,
            norm=None if self.norm_position == "post" else self._norm(),
            layer_dropout=self.layer_dropout,
        )

    def _rotary(self, base: float | None) -> RotaryPositions | None:
        if self.positions != "rotary" or base is None:
            return None
        return RotaryPositions(
            frequencies=scaled_frequencies(
                rotary_width(self._head_width, self.rotary_share),
                base,
                scaling=self.rotary_scaling,
                factor=self.rotary_factor,
                original_length=self.rotary_original_length,
            )
        )

    def _position_bias(self, *, causal: bool) -> AlibiBias | BucketBias | None:
        if self.positions == "alibi":
            return AlibiBias(n_heads=self.n_heads)
        if self.positions == "relative":
            return BucketBias(
                n_heads=self.n_heads,
                n_buckets=self.relative_buckets,
                max_distance=self.relative_max_distance,
                bidirectional=not causal,
            )
        return None

    def _embeddings(self, tokens: nn.Embedding) -> Embeddings:
        positions: LearnedPositions | SinusoidalPositions | None = None
        if self.positions == "learned":
            positions = LearnedPositions(max_length=self.max_length, d_model=self.d_model)
        elif self.positions in SINUSOIDAL:
            positions = SinusoidalPositions(
                max_length=self.max_length,
                d_model=self.d_model,
                make_table=SINUSOIDAL[self.positions],
            )
        scaled = self.scale_embeddings
        if scaled is None:
            scaled = self.positions in SINUSOIDAL
        dropout = self.embedding_dropout
        return Embeddings(
            tokens=tokens,
            positions=positions,
            segments=self._segments(),
            scale=math.sqrt(self.d_model) if scaled else 1.0,
            norm=self._norm() if self.embedding_norm else None,
            dropout=self.dropout if dropout is None else dropout,
        )

    def _segments(self) -> nn.Embedding | None:
        if not self.n_segments:
            return None
        segments = nn.Embedding(self.n_segments, self.d_model)
        nn.init.normal_(segments.weight, std=0.02)
        return segments

    def _block(self, number: int, window: int | None, *, cross: bool) -> Block | ParallelBlock:
        if self.norm_position in ("parallel", "parallel_one_norm"):
            norm = self._norm()
            one_norm = self.norm_position == "parallel_one_norm"
            return ParallelBlock(
                self_attention=self._attention(window),
                feed_forward=self._feed_forward(),
                attention_norm=norm,
                feed_forward_norm=norm if one_norm else self._norm(),
                dropout=self.dropout,
            )
        block = Block(
            self_attention=self._attention(window),
            cross_attention=self._attention(cross=True) if cross else None,
            feed_forward=self._feed_forward(),
            residual=self._residual,
        )
        if number == 0 and not self.first_norm:
            block.self_attention_residual.norm = nn.Identity()
        return block

    def _residual(self) -> Residual | SandwichResidual:
        if self.norm_position == "sandwich":
            return SandwichResidual(
                norm=self._norm(), output_norm=self._norm(), dropout=self.dropout
            )
        pre = self.norm_position == "pre"
        return Residual(norm=self._norm(), pre=pre, dropout=self.dropout)

    def _feed_forward(self) -> FeedForward:
        return FeedForward(
            d_model=self.d_model,
            d_feed_forward=self.d_feed_forward,
            activation=self.activation,
            activation_dropout=self.activation_dropout,
            bias=self.bias,
        )

    def _attention(self, window: int | None = None, *, cross: bool = False) -> MultiHeadAttention:
        return MultiHeadAttention(
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            head_width=self.head_width,
            cross=cross,
            kernel=self._kernel(window),
            query_norm=self._norm(self._head_width) if self.qk_norm else None,
            key_norm=self._norm(self._head_width) if self.qk_norm else None,
            dropout=self.attention_dropout,
            bias=self.bias,
            qkv_bias=self.qkv_bias,
        )

    def _kernel(self, window: int | None) -> Kernel:
        flex, cap = self.kernel == "flex", self.attention_soft_cap
        kernel = KERNELS["auto" if flex else self.kernel]
        if self.attention == "additive":
            kernel = AdditiveAttention(n_heads=self.n_heads, head_width=self._head_width)
        elif cap is not None:
            kernel = CappedAttention(cap=cap)
        if window is not None:
            kernel = WindowedAttention(window=window, kernel=kernel)
        with_blocks = FlexAttention(window=window, cap=cap, otherwise=kernel)
        if flex:
            return with_blocks
        if self.kernel == "auto" and self.attention == "windowed" and window is not None:
            return AutomaticAttention(flex=with_blocks, otherwise=kernel)
        return kernel

    @property
    def _head_width(self) -> int:
        """K."""
        return self.head_width or self.d_model // self.n_heads

    def _norm(self, width: int | None = None) -> nn.Module:
        width = width or self.d_model
        return build_norm(self.norm, width, bias=self.bias, epsilon=self.norm_epsilon)
