"""What a kind of record is, and how its fields are read from a raw row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from heed.data.columns import MISSING, Column, lookup

ColumnType = Literal["text", "texts", "integers"]
Record = dict[str, Any]


class InvalidRow(Exception):
    """A row that cannot become a record.

    Args:
        reason: Why, in words that are the same for all rows with this fault.
        detail: What this row has instead, short; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


class RecordKind(ABC):
    """What a record of one kind holds and how a raw row becomes one.

    Attributes:
        name: The kind's name in configs.
        types: The type of each column of a record.
        required: The columns without which no data set can be read.
        guesses: For each column the names it usually has in people's files, best first.
        text: The column that is read where nothing but texts is wanted.
    """

    name: ClassVar[str]
    types: ClassVar[dict[str, ColumnType]]
    required: ClassVar[tuple[str, ...]]
    guesses: ClassVar[dict[str, tuple[str, ...]]]
    text: ClassVar[str]

    @abstractmethod
    def convert(
        self, row: Mapping[str, Any], columns: Mapping[str, Column], *, number: int = 0
    ) -> Record:
        """The record of one raw row.

        Args:
            row: The row as read.
            columns: Record column -> data column; a record column that is left out keeps its name.
            number: The row's number, for records that need an id and have none.

        Raises:
            InvalidRow: If something is missing, of the wrong type, empty or contradictory.
        """

    @abstractmethod
    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """A record to predict from: what the model reads, and no target.

        Args:
            value: A line of text, or a row of a table.
            columns: As in `convert`; a row may use the record's own names as well.

        Raises:
            InvalidRow: If what the model reads is not there.
        """

    @abstractmethod
    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """The texts of a record that a tokenizer has to know.

        Args:
            record: A record of this kind.
            side: Only what the model reads or only what it writes; None for both.
        """


def check_text(value: Any, name: str) -> str:
    """The value if it is a text with something in it.

    Raises:
        InvalidRow: If it is missing, not text, empty, or not valid Unicode.
    """
    if value is MISSING or value is None:
        raise InvalidRow(f"{name} is missing")
    if not isinstance(value, str):
        raise InvalidRow(f"{name} is not text", type(value).__name__)
    if not value or value.isspace():
        raise InvalidRow(f"{name} is empty")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidRow(f"{name} is not valid Unicode", "half a surrogate pair") from None
    return value


def read_text(row: Mapping[str, Any], columns: Mapping[str, Column], name: str) -> str:
    """The text of a record column in a raw row; raises InvalidRow as `check_text` does."""
    return check_text(lookup(row, columns.get(name, name)), name)


def input_text(
    kind: RecordKind,
    value: Mapping[str, Any] | str,
    columns: Mapping[str, Column] | None,
    name: str,
) -> str:
    """The text of a record column in what a user gives to predict from.

    Args:
        kind: Of the record.
        value: A line of text, which is that column, or a row of a table.
        columns: Record column -> data column; the record's own names will do as well.
        name: The record column.

    Raises:
        InvalidRow: As `check_text`, or if no column is known by any of its names.
    """
    if isinstance(value, str):
        return check_text(value, name)
    chosen = (columns or {}).get(name)
    choices = [*([chosen] if chosen else []), name, *kind.guesses[name]]
    for choice in choices:
        found = lookup(value, choice)
        if found is not MISSING:
            return check_text(found, name)
    shown = ", ".join(str(key) for key in value)
    raise InvalidRow(f"{name} is missing", f"columns found: {shown or 'none'}")


def identity_of(row: Mapping[str, Any], columns: Mapping[str, Column], number: int | None) -> str:
    """The id of a row; without one its number, or "" if that is None."""
    given = lookup(row, columns.get("id", "id"))
    if given is MISSING or given is None or given == "":
        return "" if number is None else str(number)
    identity = str(given)
    return identity if identity.isascii() else check_text(identity, "id")


def whole_number(value: Any) -> int:
    """A number, or a text of one; raises ValueError or TypeError for what is none."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)
