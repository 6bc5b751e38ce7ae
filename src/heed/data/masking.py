"""Which tokens a masked language model has to tell, drawn anew for every row in every epoch.

What is drawn is a pure function of numbers, so that a place in the data says all: whatever is
resumed, on any number of processes, sees the same masks.

Legend: B rows, T positions, K hidden tokens of a row at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Masked(NamedTuple):
    """Rows with hidden tokens.

    Attributes:
        ids: (B, T) int64 what the model reads.
        places: (B, K) int64 columns of the hidden tokens, from the left; 0 beyond a row's count.
        counts: (B,) int64 hidden tokens of each row.
        labels: (B, K) int64 what they were; 0 beyond a row's count.
    """

    ids: np.ndarray
    places: np.ndarray
    counts: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Masking:
    """Hides tokens as Devlin et al. (2019), section 3.1 do.

    Attributes:
        share: Of a row's tokens that are hidden, rounded, at least one.
        masked: Of the hidden tokens, the share that becomes `mask_id`.
        random: The share that becomes a token drawn from `ordinary`; the rest stays as it is.
        mask_id: The mask's id.
        ordinary: (n,) ids of the tokens that are drawn from.
    """

    share: float
    masked: float
    random: float
    mask_id: int
    ordinary: np.ndarray

    def __call__(
        self, ids: np.ndarray, maskable: np.ndarray, key: tuple[int, ...], rows: np.ndarray
    ) -> Masked:
        """Hide tokens.

        Args:
            ids: (B, T) int64.
            maskable: (B, T) bool, the tokens that may be hidden.
            key: Numbers that all rows share, such as a seed and an epoch.
            rows: (B,) the number of each row; with the key it decides what is hidden of the row,
                whatever else is in the batch.
        """
        width = ids.shape[1]
        order, action, replacement = (uniform((*key, use), rows, width) for use in range(3))
        possible = maskable.sum(1)
        counts = np.minimum(np.maximum(1, np.round(self.share * possible)), possible).astype(int)
        rank = np.where(maskable, order, 2.0).argsort(1, kind="stable").argsort(1, kind="stable")
        chosen = rank < counts[:, None]  # (B, T)
        read = np.where(chosen & (action < self.masked), self.mask_id, ids)
        drawn = self.ordinary[(replacement * len(self.ordinary)).astype(int)]
        becomes_other = (action >= self.masked) & (action < self.masked + self.random)
        read = np.where(chosen & becomes_other, drawn, read)
        places, counts = columns_of(chosen)
        labels = np.take_along_axis(ids, places, axis=1)
        labels[np.arange(places.shape[1]) >= counts[:, None]] = 0
        return Masked(read, places, counts, labels)


def columns_of(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, T) bool -> (B, K) int64 columns that are True, from the left, and (B,) their numbers."""
    counts = chosen.sum(1)
    most = max(1, int(counts.max(initial=0)))
    places = np.argsort(~chosen, axis=1, kind="stable")[:, :most]
    return np.where(np.arange(most) < counts[:, None], places, 0), counts


def uniform(key: tuple[int, ...], rows: np.ndarray, width: int) -> np.ndarray:
    """(B, T) numbers in [0, 1), each decided by the key, its row's number and its column.

    SplitMix64 (Steele, Lea and Flood 2014), with a stream for each row.
    """
    start = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        stream = _mixed(start ^ _mixed(rows.astype(np.uint64)))  # (B,)
        steps = np.arange(1, width + 1, dtype=np.uint64) * GOLDEN  # (T,)
        bits = _mixed(stream[:, None] + steps)  # (B, T)
    return (bits >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
