"""The token rows of a cache entry, memory-mapped: any rows of it by one gather.

Legend: N rows, s token streams of a row, B rows asked for.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heed.data.token_rows import Column, TokenRows
from heed.ragged import Ragged

ENTRY, LENGTHS = "entry.json", "lengths.int32"
VALUES, OFFSETS = ".int32", ".int64"  # a column's integers, and where each row's begin
# The kernel maps up to 16 pages around each one read, so many rows read at random come to hold all
# of a file in memory, as it were. They are let go of when about so many bytes could be held.
MOST_MAPPED = 64 * 2**20
MAPPED_A_ROW = 2**16


class EncodedRows:
    """The token rows of a cache entry, read from disk as they are asked for.

    Args:
        folder: The entry.

    Attributes:
        lengths: (N, s) int32 tokens of each row in each stream, memory-mapped.
        counts: What was counted when the rows were written: "records", "rows", "cut_rows",
            "cut_tokens".
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        entry = json.loads((self.folder / ENTRY).read_text(encoding="utf-8"))
        self.counts: dict[str, int] = entry["counts"]
        self._maps: list[mmap.mmap] = []
        self._streams: int = entry["streams"]
        self.lengths: np.ndarray = self._array(LENGTHS, np.int32).reshape(-1, self._streams)
        self._columns: dict[str, Column] = {
            name: self._array(name + VALUES, np.int32) for name in entry["scalar_columns"]
        }
        for name in entry["list_columns"]:
            values = self._array(name + VALUES, np.int32)
            self._columns[name] = Ragged(values, self._array(name + OFFSETS, np.int64))
        self._read = 0  # rows since the maps were last let go of
        self._large = sum(map(len, self._maps)) > MOST_MAPPED

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, numbers: Sequence[int] | np.ndarray) -> TokenRows:
        """Rows by number, in this order, by one gather a column.

        The result is a sequence of mappings, one a row. By column it has a (B,) int32 array for a
        scalar column, and for a list column a `Ragged` of flat `values` and (B + 1,) `offsets`;
        "lengths" is one of these, with s integers a row.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        columns: dict[str, Column] = {
            name: column.take(numbers) if isinstance(column, Ragged) else column[numbers]
            for name, column in self._columns.items()
        }
        lengths = self.lengths[numbers].reshape(-1)
        columns["lengths"] = Ragged(lengths, np.arange(len(numbers) + 1) * self._streams)
        self._let_go(len(numbers))
        return TokenRows(columns)

    def column(self, name: str) -> np.ndarray:
        """(N,) the whole of a scalar column, memory-mapped."""
        values = self._columns[name]
        assert isinstance(values, np.ndarray), f"{name} is several integers a row"
        return values

    def _array(self, name: str, kind: type) -> np.ndarray:
        path = self.folder / name
        if not path.stat().st_size:
            return np.empty(0, dtype=kind)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=kind)

    def _let_go(self, rows: int) -> None:
        """Keep what is mapped from growing with every row; pages stay in the file cache."""
        self._read += rows
        if self._large and self._read * MAPPED_A_ROW > MOST_MAPPED:
            self._read = 0
            for mapped in self._maps if hasattr(mmap, "MADV_DONTNEED") else ():
                mapped.madvise(mmap.MADV_DONTNEED)

    def __reduce__(self) -> tuple[type[EncodedRows], tuple[Any, ...]]:
        return type(self), (self.folder,)
