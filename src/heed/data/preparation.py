"""From records to token rows to batches: what every kind of record must offer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from heed.data.batch import Batch
from heed.data.record_kind import RecordKind
from heed.errors import UserError

Rows = dict[str, Any]
"""Token rows by column: an integer a row, or a list of integers a row (lists, or in flat arrays:
see `TokenRows`)."""


class Preparation(Protocol):
    """Turns records of one kind into token rows (cached), and token rows into batches.

    Attributes:
        kind: The kind of record it reads.
        streams: Names of the token streams of a row, in the order of its `lengths`.
        told: Those which a model tells token by token, so that it never reads the last one.
        scalar_columns: Columns with one integer a row; always "index" (the record's number) and
            "cut" (tokens that were cut away).
        list_columns: Columns with a list of integers a row; always "lengths" (one a stream).
    """

    kind: ClassVar[type[RecordKind]]

    told: ClassVar[tuple[str, ...]]

    @property
    def streams(self) -> tuple[str, ...]: ...

    @property
    def scalar_columns(self) -> tuple[str, ...]: ...

    @property
    def list_columns(self) -> tuple[str, ...]: ...

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """Token rows of some records, columns by name; a record may yield several rows or none."""
        ...

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> Batch:
        """One batch of token rows; `records` are the records of these rows, for evaluation."""
        ...

    def fingerprint(self) -> str:
        """A hex digest of everything that its rows depend on beside the records."""
        ...


def digest(parts: Any) -> str:
    """Hex SHA-256 of plain values (numbers, strings, lists, dicts)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def require_length(key: str, value: int, least: int, why: str) -> None:
    """Refuse a length limit that leaves no room for text.

    Raises:
        UserError: If `value` is below `least`.
    """
    if value < least:
        raise UserError(f"{key} must be at least {least} ({why}), but is {value}", f"try {key}=128")


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Records as columns; a field that a record lacks is None."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}
