"""How fast rotary positions turn, and how a model that was trained on short rows is made to read
longer ones.

Legend: R dimensions that turn.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

RotaryScaling = Literal["none", "linear", "ntk", "llama3"]


def rotary_frequencies(width: int, base: float) -> Tensor:
    """(R/2,): base^(-2i/R) radians a position (Su et al. 2021, section 3.2.2)."""
    even = torch.arange(0, width, 2, dtype=torch.float32)
    frequencies: Tensor = base ** (-even / width)
    return frequencies


def llama3_frequencies(
    frequencies: Tensor,
    factor: float,
    original_length: int,
    *,
    low: float = 1.0,
    high: float = 4.0,
) -> Tensor:
    """Waves that come fewer than `low` times in `original_length` positions are made longer by
    `factor`, those that come more than `high` times are kept, those between in part (Llama 3.1:
    Grattafiori et al. 2024, and its released code).
    """
    turns = original_length * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return kept * frequencies + (1.0 - kept) * frequencies / factor


def scaled_frequencies(
    width: int,
    base: float,
    *,
    scaling: RotaryScaling = "none",
    factor: float = 1.0,
    original_length: int = 8192,
) -> Tensor:
    """(R/2,) frequencies that let rows be `factor` times as long.

    Args:
        width: R, even.
        base: Wavelengths grow up to 2 pi times this.
        scaling: "linear" makes all waves longer (Chen et al. 2023); "ntk" raises the base so that
            the longest becomes `factor` times as long and the shortest stays ("NTK-aware", as
            described in Peng et al. 2023, section 3.1); "llama3": see `llama3_frequencies`.
        factor: At least 1.
        original_length: Of the rows that the model was first trained on; for "llama3".
    """
    if scaling == "linear":
        return rotary_frequencies(width, base) / factor
    if scaling == "ntk":
        return rotary_frequencies(width, base * factor ** (width / (width - 2)))
    frequencies = rotary_frequencies(width, base)
    if scaling == "llama3":
        return llama3_frequencies(frequencies, factor, original_length)
    return frequencies
