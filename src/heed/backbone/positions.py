"""Where a token stands: sinusoidal, learned and rotary positions.

Legend: B batch, T positions, D model width, H heads, K head width, R dimensions of a
head that turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heed.errors import UserError


def sinusoidal_table(length: int, d_model: int) -> Tensor:
    """(T, D): sin in the even columns, cos in the odd ones (Vaswani et al. 2017, section 3.5)."""
    positions = torch.arange(length, dtype=torch.float32)[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float32)
    angles = positions * torch.exp(even * (-math.log(10000.0) / d_model))  # (T, D/2)
    table = torch.empty(length, d_model)
    table[:, 0::2] = angles.sin()
    table[:, 1::2] = angles[:, : d_model // 2].cos()
    return table


def halved_sinusoidal_table(length: int, d_model: int) -> Tensor:
    """(T, D): the same waves, all sines in the first half of the columns and all cosines in the
    second, as Marian keeps them (Junczys-Dowmunt et al. 2018).
    """
    positions = torch.arange(length, dtype=torch.float64)[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float64)
    angles = positions * torch.exp(even * (-math.log(10000.0) / d_model))  # (T, ceil(D/2))
    return torch.cat((angles.sin(), angles[:, : d_model // 2].cos()), dim=1).float()


class SinusoidalPositions(nn.Module):
    """Fixed waves of growing length; rows longer than the table make it grow.

    Args:
        max_length: Positions computed beforehand.
        d_model: D.
        make_table: From a length and D to the waves (T, D).
    """

    table: Tensor

    def __init__(
        self,
        *,
        max_length: int,
        d_model: int,
        make_table: Callable[[int, int], Tensor] = sinusoidal_table,
    ) -> None:
        super().__init__()
        self.make_table = make_table
        self.register_buffer("table", make_table(max_length, d_model), persistent=False)

    def forward(self, positions: Tensor, width: int) -> Tensor:
        """(T,) or (B, T) positions, all below `width` -> (T, D) or (B, T, D)."""
        if width > self.table.shape[0]:
            length = max(width, 2 * self.table.shape[0])
            self.table = self.make_table(length, self.table.shape[1]).to(self.table)
        return self.table[positions]


class LearnedPositions(nn.Module):
    """One learned vector a position (Gehring et al. 2017, section 3.1).

    Args:
        max_length: Positions there are vectors for.
        d_model: D.
    """

    def __init__(self, *, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Tensor, width: int) -> Tensor:
        """(T,) or (B, T) positions, all below `width` -> (T, D) or (B, T, D).

        Raises:
            UserError: If `width` is more than there are vectors for.
        """
        if width > self.weight.shape[0]:
            raise UserError(
                f"a row must be at most model.max_length ({self.weight.shape[0]}) tokens long with "
                f"learned positions, but is {width}",
                f"cut it, or train with model.max_length={width} or model.positions=sinusoidal",
            )
        return self.weight[positions]


class Rotation(NamedTuple):
    """The cosine and sine of each position's angles, (1 or B, 1, T, R) each."""

    cos: Tensor
    sin: Tensor


class RotaryPositions(nn.Module):
    """Turns pairs of query and key dimensions by an angle that grows with the position, so that
    their product depends on the distance alone (Su et al. 2021, section 3.2).

    Dimension i is paired with i + R/2, the pairing that published weights use.

    Args:
        frequencies: (R/2,) radians a position, of the first R dimensions of a head; those beyond
            stay as they are. See `heed.backbone.frequencies`.
    """

    frequencies: Tensor

    def __init__(self, *, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """(T,) or (B, T) positions -> what `rotate` needs, in fp32."""
        angles = positions[..., None].float() * self.frequencies.float()  # (..., T, R/2)
        angles = torch.cat((angles, angles), dim=-1)  # (..., T, R)
        angles = angles[None, None] if positions.ndim == 1 else angles[:, None]
        return Rotation(angles.cos(), angles.sin())


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn queries or keys (B, H, T, K) to their positions, in the first R of K dimensions."""
    width = rotation.cos.shape[-1]
    if width < x.shape[-1]:
        return torch.cat((rotate(x[..., :width], rotation), x[..., width:]), dim=-1)
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return x * rotation.cos.to(x.dtype) + turned * rotation.sin.to(x.dtype)
