"""From token numbers to vectors that know their positions.

Legend: B batch, T positions, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.backbone.dropout import Dropout
from heed.backbone.positions import LearnedPositions, SinusoidalPositions


class Embeddings(nn.Module):
    """Token vector, scaled, plus position and segment vectors; then norm and dropout, if any.

    Args:
        tokens: The table (V, D), which may be shared.
        positions: Absolute positions; None where attention rotates instead.
        segments: One vector for each text of a row (Devlin et al. 2019, section 3.2); or None.
        scale: Factor of the token vectors: sqrt(D) in Vaswani et al. 2017, section 3.4.
        norm: Normalises the sum (as in BERT); None for none.
        dropout: Probability of dropping an element of the sum.
    """

    def __init__(
        self,
        *,
        tokens: nn.Embedding,
        positions: LearnedPositions | SinusoidalPositions | None,
        segments: nn.Embedding | None,
        scale: float,
        norm: nn.Module | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = positions
        self.segments = segments
        self.scale = scale
        self.norm = norm
        self.dropout = Dropout(p=dropout)

    def forward(
        self, ids: Tensor, positions: Tensor, width: int, segments: Tensor | None = None
    ) -> Tensor:
        """Embed.

        Args:
            ids: (B, T) long.
            positions: (T,) or (B, T) long.
            width: More than the highest position.
            segments: (B, T) long, the text that each token belongs to; None: all to the first. Not
                looked at where there are no vectors for them.

        Returns:
            (B, T, D).
        """
        x = self.tokens(ids)  # (B, T) -> (B, T, D)
        if self.scale != 1.0:
            x = x * self.scale
        if self.positions is not None:
            x = x + self.positions(positions, width)
        if self.segments is not None:
            x = x + self._segment_vectors(self.segments, segments)
        if self.norm is not None:
            x = self.norm(x)
        return in_half(self.dropout(x))

    def _segment_vectors(self, table: nn.Embedding, segments: Tensor | None) -> Tensor:
        """(D,) or (B, T, D); texts beyond the table's share its last vector."""
        if segments is None:
            return table.weight[0]
        return table(segments.clamp(max=table.num_embeddings - 1))


def in_half(x: Tensor) -> Tensor:
    """`x` in the type of mixed precision, where there is that: what the blocks add up in then takes
    half the memory traffic; norms, softmax and losses still compute in fp32."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
