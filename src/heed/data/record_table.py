"""Records in an Arrow file, memory-mapped: read by number, in pieces, or one after another.

As much of a `datasets.Dataset` as is needed here, without the seconds that its import takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    import pyarrow

Columns = dict[str, list[Any]]


class RecordTable:
    """Records by number.

    Args:
        batches: The records, in order.
        names: Their columns.
    """

    def __init__(self, batches: Sequence[pyarrow.RecordBatch], names: Sequence[str]) -> None:
        self._batches = [batch for batch in batches if batch.num_rows]
        self.column_names = list(names)
        self._past = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    @classmethod
    def open(cls, path: Path) -> RecordTable:
        """The records of an Arrow stream file.

        Raises:
            OSError, ValueError, pyarrow.ArrowException: If it is not there, not whole, or none.
        """
        import pyarrow

        table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
        return cls(table.to_batches(), table.column_names)

    def __len__(self) -> int:
        return int(self._past[-1]) if len(self._past) else 0

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, which: slice | Sequence[int]) -> Columns: ...
    @overload
    def __getitem__(self, which: str) -> list[Any]: ...
    def __getitem__(self, which: int | slice | str | Sequence[int]) -> Any:
        """A record by its number; some of them, as columns, by a slice or their numbers; a column.

        Raises:
            IndexError: If there is no such record.
        """
        if isinstance(which, str):
            return [value for batch in self._batches for value in batch.column(which).to_pylist()]
        if isinstance(which, slice):
            return _columns(self._range(*which.indices(len(self))), self.column_names)
        if isinstance(which, int):
            return self._one(which).to_pylist()[0]
        return _columns([self._one(number) for number in which], self.column_names)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for columns in self.iter(batch_size=1000):
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))

    def iter(self, batch_size: int) -> Iterator[Columns]:
        """All records as columns, so many at a time."""
        for first in range(0, len(self), batch_size):
            yield self[first : first + batch_size]

    def select(self, numbers: range) -> RecordTable:
        """A range of the records, not copied."""
        return RecordTable(
            self._range(numbers.start, numbers.stop, numbers.step), self.column_names
        )

    def unique(self, column: str) -> list[Any]:
        """The different values of a column, in order of appearance."""
        found: dict[Any, None] = {}
        for batch in self._batches:
            found.update(dict.fromkeys(batch.column(column).to_pylist()))
        return list(found)

    def _range(self, start: int, stop: int, step: int) -> list[pyarrow.RecordBatch]:
        if step != 1:
            return [self._one(number) for number in range(start, stop, step)]
        found = []
        while start < stop:
            chunk, place = self._place(start)
            piece = self._batches[chunk].slice(place, stop - start)
            found.append(piece)
            start += piece.num_rows
        return found

    def _one(self, number: int) -> pyarrow.RecordBatch:
        if not -len(self) <= number < len(self):
            raise IndexError(f"record {number} of {len(self)}")
        chunk, place = self._place(number % len(self))
        return self._batches[chunk].slice(place, 1)

    def _place(self, number: int) -> tuple[int, int]:
        chunk = int(np.searchsorted(self._past, number, side="right"))
        return chunk, number - (int(self._past[chunk]) - self._batches[chunk].num_rows)


def _columns(batches: Sequence[pyarrow.RecordBatch], names: Sequence[str]) -> Columns:
    columns: Columns = {name: [] for name in names}
    for batch in batches:
        for name, values in batch.to_pydict().items():
            columns[name] += values
    return columns
