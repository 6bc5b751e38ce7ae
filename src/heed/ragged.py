"""Rows of integers of different lengths in two flat arrays, so that many are handled at once.

Legend: B rows, V values of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np


class Ragged(Sequence[np.ndarray]):
    """B rows of integers: row i is `values[offsets[i] : offsets[i + 1]]`.

    Args:
        values: (V,) the rows one after another.
        offsets: (B + 1,) int64 where each row begins; V at the end.
    """

    __slots__ = ("offsets", "values")

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values = values
        self.offsets = offsets

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> Ragged:
        """The same rows, int32, from lists or arrays."""
        if isinstance(rows, Ragged):
            return rows
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(lengths.sum()))
        return cls(flat, offsets_of(lengths))

    @classmethod
    def of_columns(cls, *columns: np.ndarray) -> Ragged:
        """Rows of one integer from each of some (B,) columns."""
        values = np.stack(columns, axis=1).astype(np.int32)
        return cls(values.ravel(), np.arange(len(values) + 1) * len(columns))

    @property
    def lengths(self) -> np.ndarray:
        """(B,) int64 integers of each row."""
        return np.diff(self.offsets)

    @property
    def flat(self) -> np.ndarray:
        """The integers of the rows one after another."""
        return self.values[self.offsets[0] : self.offsets[-1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row):
        """A row by number; by a slice, some of the rows."""
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        places = self.offsets.tolist()
        for first, past in zip(places, places[1:], strict=False):
            yield self.values[first:past]

    def tolist(self) -> list[list[int]]:
        """The rows as lists."""
        return [row.tolist() for row in self]

    def take(self, numbers: Sequence[int] | np.ndarray) -> Ragged:
        """Rows by number, in this order, copied by one gather."""
        numbers = np.asarray(numbers, dtype=np.int64)
        first = self.offsets[numbers]
        return self._between(first, self.offsets[numbers + 1] - first)

    def first(self, most: int) -> Ragged:
        """The first integers of each row, at most so many."""
        lengths = self.lengths
        if not len(lengths) or lengths.max() <= most:
            return self
        return self._between(self.offsets[:-1], np.minimum(lengths, most))

    def last(self, most: int) -> Ragged:
        """The last integers of each row, at most so many."""
        lengths = np.minimum(self.lengths, most)
        return self._between(self.offsets[1:] - lengths, lengths)

    def only(self, kept: np.ndarray) -> Ragged:
        """The rows of which `kept`, (B,) bool, is True; in place of the others empty rows."""
        if kept.all():
            return self
        return self._between(self.offsets[:-1], self.lengths * kept)

    def cut(self, most: int, shared: int = 0) -> tuple[Ragged, np.ndarray]:
        """Rows of at most `most` integers, those of a longer row one after another.

        Args:
            most: Of a row.
            shared: Last integers of a part which the next part of the same row begins with.

        Returns:
            The parts, at least one a row, and for each the number of its row.
        """
        lengths, step = self.lengths, most - shared
        parts = np.maximum(1, -((shared - lengths) // step))
        row = np.repeat(np.arange(len(self)), parts)
        begin = (np.arange(len(row)) - np.repeat(offsets_of(parts)[:-1], parts)) * step
        return self._between(self.offsets[row] + begin, np.minimum(lengths[row] - begin, most)), row

    def within(self, before: Sequence[int], after: Sequence[int]) -> Ragged:
        """The rows with the same integers put before and after each."""
        lengths = self.lengths
        offsets = offsets_of(lengths + len(before) + len(after))
        values = np.empty(offsets[-1], dtype=self.values.dtype)
        inside = np.ones(len(values), dtype=bool)
        for place, value in enumerate(before):
            values[offsets[:-1] + place] = value
            inside[offsets[:-1] + place] = False
        for place, value in enumerate(reversed(after), start=1):
            values[offsets[1:] - place] = value
            inside[offsets[1:] - place] = False
        values[inside] = self.flat
        return Ragged(values, offsets)

    def _between(self, first: np.ndarray, lengths: np.ndarray) -> Ragged:
        """(B,) rows of `lengths` integers from the places `first` on."""
        offsets = offsets_of(lengths)
        places = np.repeat(first - offsets[:-1], lengths)
        places += np.arange(len(places))
        return Ragged(self.values[places], offsets)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """(B + 1,) int64: where rows of these lengths begin when they lie one after another."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Row i of every part in one row, in the order of the parts."""
    lengths = np.stack([part.lengths for part in parts], axis=1)  # (B, parts)
    offsets = offsets_of(lengths.ravel())
    values = np.empty(offsets[-1], dtype=np.int32)
    for number, part in enumerate(parts):
        places = np.repeat(offsets[number : -1 : len(parts)] - part.offsets[:-1], part.lengths)
        first, past = part.offsets[0], part.offsets[-1]
        values[places + np.arange(first, past)] = part.values[first:past]
    return Ragged(values, offsets[:: len(parts)])
