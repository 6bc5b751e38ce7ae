"""Positions as a number added to each attention score, by how far the key is from the query.

Legend: B batch, H heads, Tq queries, Tk keys, N buckets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def distances(query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """The key's position less the query's.

    (Tq,) or (B, Tq), (Tk,) or (B, Tk) -> (1 or B, Tq, Tk).
    """
    difference = key_positions[..., None, :] - query_positions[..., :, None]
    return difference[None] if difference.ndim == 2 else difference


def alibi_slopes(n_heads: int) -> Tensor:
    """(H,): 2^(-8/H), 2^(-16/H), ... where H is a power of two. Otherwise those of the power of two
    below, then every other one of the power of two above (Press et al. 2022, section 3 and code).
    """
    power = 2 ** int(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(n_heads - power)]
    return torch.tensor(slopes)


class AlibiBias(nn.Module):
    """A penalty that grows with the distance, faster in some heads than in others (Press et al.
    2022). Nothing is learned, and rows may be of any length. An encoder looks both ways alike.

    Args:
        n_heads: H.
    """

    slopes: Tensor

    def __init__(self, *, n_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(n_heads), persistent=False)

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Positions as in `distances` -> (1 or B, H, Tq, Tk)."""
        away = distances(query_positions, key_positions).abs()
        return -self.slopes[:, None, None] * away[:, None]


class BucketBias(nn.Module):
    """A learned number for each head and bucket of distances (T5: Raffel et al. 2020, section 2.1).

    The first half of the buckets are single distances, the others grow in powers up to
    `max_distance`; one bucket holds all beyond.

    Args:
        n_heads: H.
        n_buckets: N, even (a multiple of 4 if bidirectional).
        max_distance: Where the last bucket begins.
        bidirectional: Whether keys after the query have buckets of their own, half of all; without,
            they are taken for the query itself.
    """

    def __init__(
        self, *, n_heads: int, n_buckets: int, max_distance: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = nn.Parameter(torch.empty(n_buckets, n_heads))
        nn.init.normal_(self.weight, std=0.02)

    def buckets(self, distance: Tensor) -> Tensor:
        """Long, of any shape -> the bucket of each distance, in [0, N)."""
        n_buckets = self.weight.shape[0]
        first = torch.zeros_like(distance)
        if self.bidirectional:
            n_buckets //= 2
            first = (distance > 0) * n_buckets
            away = distance.abs()
        else:
            away = (-distance).clamp(min=0)
        single = n_buckets // 2
        ratio = away.clamp(min=1).float() / single
        grown = single + (
            torch.log(ratio) / math.log(self.max_distance / single) * (n_buckets - single)
        ).to(torch.long)
        return first + torch.where(away < single, away, grown.clamp(max=n_buckets - 1))

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Positions as in `distances` -> (1 or B, H, Tq, Tk)."""
        buckets = self.buckets(distances(query_positions, key_positions))  # (1 or B, Tq, Tk)
        return self.weight[buckets].permute(0, 3, 1, 2)
