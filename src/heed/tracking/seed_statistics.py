"""The mean over seeds, how far it is spread, and the interval in which the true mean lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A figure over some runs.

    Attributes:
        values: That of each run.
        mean: Their mean.
        deviation: Standard deviation of the sample (n - 1); None of one run.
        low, high: Ends of the confidence interval of the mean (Student's t); None of one run.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Mean, deviation and interval of one or more values."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Spread(tuple(values), mean, None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(confidence, count - 1) * deviation / math.sqrt(count)
    return Spread(tuple(values), mean, deviation, mean - half, mean + half)


def t_quantile(confidence: float, freedom: int) -> float:
    """The t for which Student's distribution has `confidence` of its mass between -t and t.

    Args:
        confidence: In (0, 1).
        freedom: Degrees of freedom, at least 1.
    """
    assert 0 < confidence < 1, "a confidence lies between 0 and 1"
    low, high = 0.0, 1.0
    while _mass_within(high, freedom) < confidence:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _mass_within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high


def _mass_within(t: float, freedom: int) -> float:
    """The mass between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
