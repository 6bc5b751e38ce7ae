"""Token rows held by column, in flat arrays: what the cache gives and a batch is made of.

Legend: B rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heed.ragged import Ragged, offsets_of

Column = np.ndarray | Ragged


class TokenRows(Sequence[Mapping[str, Any]]):
    """B token rows: a sequence of rows, each a mapping of its columns, or all rows by column.

    Args:
        columns: Name -> (B,) integers, or a `Ragged` of B rows of integers, which are flat `values`
            and `offsets`. They have an "index" at least.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, columns: Mapping[str, Any], lists: Sequence[str]) -> TokenRows:
        """Rows from columns that may still be lists.

        Args:
            columns: Name -> an integer a row, or a list of integers a row.
            lists: The names of the latter.
        """
        return cls(
            {
                name: Ragged.of(values) if name in lists else np.asarray(values, dtype=np.int32)
                for name, values in columns.items()
            }
        )

    def __len__(self) -> int:
        return len(self.columns["index"])

    def __getitem__(self, row):
        """A row by number: an int for a scalar column, an int32 array for a list column."""
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        return {
            name: values[row] if isinstance(values, Ragged) else int(values[row])
            for name, values in self.columns.items()
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        listed = [v if isinstance(v, Ragged) else v.tolist() for v in self.columns.values()]
        for values in zip(*listed, strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def take(self, numbers: Sequence[int] | np.ndarray) -> TokenRows:
        """Rows by number, in this order."""
        numbers = np.asarray(numbers, dtype=np.int64)
        return TokenRows(
            {
                name: values.take(numbers) if isinstance(values, Ragged) else values[numbers]
                for name, values in self.columns.items()
            }
        )

    def ragged(self, name: str) -> Ragged:
        """A list column: `values` (V,) of all rows, row i from `offsets[i]` to `offsets[i + 1]`."""
        values = self.columns[name]
        assert isinstance(values, Ragged), f"{name} is one integer a row"
        return values

    def scalars(self, name: str) -> np.ndarray:
        """(B,) a scalar column."""
        values = self.columns[name]
        assert isinstance(values, np.ndarray), f"{name} is several integers a row"
        return values


def integers(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """(B,) a scalar column of some rows."""
    if isinstance(rows, TokenRows):
        return rows.scalars(name)
    return np.array([int(row[name]) for row in rows], dtype=np.int64)


def lists(rows: Sequence[Mapping[str, Any]], name: str) -> Sequence[np.ndarray]:
    """A list column of some rows, in flat arrays if the rows have it so."""
    return rows.ragged(name) if isinstance(rows, TokenRows) else [row[name] for row in rows]


def concatenated(parts: Sequence[TokenRows]) -> TokenRows:
    """The rows of all parts, one part after another; they have the same columns."""
    columns: dict[str, Column] = {}
    for name, column in parts[0].columns.items():
        if isinstance(column, Ragged):
            ragged = [part.ragged(name) for part in parts]
            lengths = np.concatenate([one.lengths for one in ragged])
            columns[name] = Ragged(
                np.concatenate([one.flat for one in ragged]), offsets_of(lengths)
            )
        else:
            columns[name] = np.concatenate([part.scalars(name) for part in parts])
    return TokenRows(columns)
