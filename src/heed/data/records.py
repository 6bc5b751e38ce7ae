"""The kinds of record that every data set is turned into, whatever its files look like.

- pairs:         {"source": str, "target": str, "references": list[str]}
- labelled_text: {"text": str, "label": str}
- texts:         {"text": str}; to predict from, {"prompt": str}
- passages:      {"id": str, "question": str, "context": str,
                  "answers": list[str], "starts": list[int]}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from heed.data.columns import MISSING, Column, lookup
from heed.errors import UserError, nearest

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
    """

    name: ClassVar[str]
    types: ClassVar[dict[str, ColumnType]]
    required: ClassVar[tuple[str, ...]]
    guesses: ClassVar[dict[str, tuple[str, ...]]]

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


class Pairs(RecordKind):
    """A text and the text to make of it: translation, summarization.

    Spaces around a text are removed. `references[0]` is the target unless the data has several.
    """

    name = "pairs"
    types = {"source": "text", "target": "text", "references": "texts"}
    required = ("source", "target")
    guesses = {
        "source": ("src", "input", "document", "article", "dialogue", "text"),
        "target": ("tgt", "output", "summary", "highlights", "translation"),
        "references": (),
    }

    def convert(
        self, row: Mapping[str, Any], columns: Mapping[str, Column], *, number: int = 0
    ) -> Record:
        """See `RecordKind.convert`."""
        source = read_text(row, columns, "source").strip()
        target = read_text(row, columns, "target").strip()
        given = lookup(row, columns.get("references", "references"))
        if given is MISSING or given is None or given == []:
            return {"source": source, "target": target, "references": [target]}
        references = [given] if isinstance(given, str) else given
        if not isinstance(references, list):
            raise InvalidRow("references is not a list of texts", type(given).__name__)
        checked = [check_text(one, "references").strip() for one in references]
        return {"source": source, "target": target, "references": checked}

    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """See `RecordKind.from_input`."""
        return {"source": _input_text(self, value, columns, "source").strip()}

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`."""
        sides = ("source", "target") if side is None else (side,)
        return [record[one] for one in sides]


class LabelledText(RecordKind):
    """A text and the name of its class: sentiment.

    Args:
        labels: The class names; a label given as a number is an index into them. None takes any
            name, and a number as its own name.
    """

    name = "labelled_text"
    types = {"text": "text", "label": "text"}
    required = ("text", "label")
    guesses = {
        "text": ("sentence", "review", "content", "document"),
        "label": ("labels", "class", "category", "sentiment"),
    }

    def __init__(self, *, labels: Sequence[str] | None = None) -> None:
        self.labels = None if labels is None else list(labels)

    def convert(
        self, row: Mapping[str, Any], columns: Mapping[str, Column], *, number: int = 0
    ) -> Record:
        """See `RecordKind.convert`."""
        text = read_text(row, columns, "text").strip()
        value = lookup(row, columns.get("label", "label"))
        if value is MISSING or value is None or value == "":
            raise InvalidRow("label is missing")
        return {"text": text, "label": self._label(value)}

    def _label(self, value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InvalidRow("label is neither a name nor a number", type(value).__name__)
        name = str(value).strip()
        if self.labels is None:
            return check_text(name, "label")
        if name in self.labels:
            return name
        if name.isdecimal() and int(name) < len(self.labels):
            return self.labels[int(name)]
        raise InvalidRow("label is not in the label set", repr(name[:40]))

    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """See `RecordKind.from_input`."""
        return {"text": _input_text(self, value, columns, "text").strip()}

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`."""
        return [] if side == "target" else [record["text"]]


class Texts(RecordKind):
    """A text and nothing else: language modelling. Any data set has such records in it."""

    name = "texts"
    types = {"text": "text"}
    required = ("text",)
    guesses = {
        "text": (
            *("sentence", "review", "content", "document", "article", "dialogue"),
            *("source", "src", "context", "passage"),
        )
    }

    def convert(
        self, row: Mapping[str, Any], columns: Mapping[str, Column], *, number: int = 0
    ) -> Record:
        """See `RecordKind.convert`."""
        return {"text": read_text(row, columns, "text").strip()}

    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """See `RecordKind.from_input`; what is predicted is no text of the data, but its rest."""
        return {"prompt": _input_text(self, value, columns, "text").strip()}

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`."""
        return [] if side == "target" else [record["text"]]


class Passages(RecordKind):
    """A question, the passage it is asked about, and the spans that answer it.

    No answers mean that the passage does not answer the question. The context is kept as it is, so
    that starts stay true. Where the data gives no starts, an answer's first occurrence is taken.
    """

    name = "passages"
    types = {
        "id": "text",
        "question": "text",
        "context": "text",
        "answers": "texts",
        "starts": "integers",
    }
    required = ("question", "context", "answers")
    guesses = {
        "id": (),
        "question": ("query",),
        "context": ("passage", "paragraph", "document"),
        "answers": ("answers.text", "answer", "answer_text"),
        "starts": ("answers.answer_start", "answers.start", "answer_start", "start"),
    }

    def convert(
        self, row: Mapping[str, Any], columns: Mapping[str, Column], *, number: int = 0
    ) -> Record:
        """See `RecordKind.convert`."""
        question = read_text(row, columns, "question").strip()
        context = read_text(row, columns, "context")
        answers, starts = self._answers(row, columns)
        if starts is None:
            starts = [context.find(answer) for answer in answers]
        for answer, start in zip(answers, starts, strict=True):
            if start < 0 or not context.startswith(answer, start):
                raise InvalidRow("answer does not stand at its start in the context", answer[:40])
        return {
            "id": _identity(row, columns, number),
            "question": question,
            "context": context,
            "answers": answers,
            "starts": starts,
        }

    def _answers(
        self, row: Mapping[str, Any], columns: Mapping[str, Column]
    ) -> tuple[list[str], list[int] | None]:
        given = lookup(row, columns.get("answers", "answers"))
        if given is MISSING:
            raise InvalidRow("answers is missing")
        given = [] if given is None or given == "" else given
        answers = [
            check_text(one, "answers") for one in (given if isinstance(given, list) else [given])
        ]
        places = lookup(row, columns.get("starts", "starts"))
        if places is MISSING or places is None:
            return answers, None
        places = [] if places == "" else places if isinstance(places, list) else [places]
        if len(places) != len(answers):
            raise InvalidRow(
                "starts and answers differ in number", f"{len(places)} and {len(answers)}"
            )
        try:
            return answers, [_integer(place) for place in places]
        except (TypeError, ValueError):
            raise InvalidRow("starts is not a whole number", repr(places)[:40]) from None

    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """See `RecordKind.from_input`."""
        if isinstance(value, str):
            raise InvalidRow("a question comes with its passage, as two columns: question, context")
        columns = columns or {}
        identity = _identity(value, columns, None)
        return {
            "id": identity,
            "question": _input_text(self, value, columns, "question").strip(),
            "context": _input_text(self, value, columns, "context"),
        }

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`; an answer is part of its passage."""
        return (
            list(record["answers"]) if side == "target" else [record["question"], record["context"]]
        )


RECORD_KINDS: dict[str, type[RecordKind]] = {
    kind.name: kind for kind in (Pairs, LabelledText, Texts, Passages)
}
TEXT_OF = {"texts": "text", "labelled_text": "text", "pairs": "source", "passages": "context"}
"""The column of each kind that is read as a text when nothing but texts is wanted."""


def columns_of_kind(columns: Mapping[str, Column], *, data: str, wanted: str) -> dict[str, Column]:
    """The columns of a data set that records of another kind take.

    Args:
        columns: Record column -> data column, of the data set's own kind; a column `text` may be
            named beside them.
        data: The data set's own kind.
        wanted: The kind of the records: the same, or texts, which are in every data set.
    """
    if wanted != Texts.name or data == wanted:
        return dict(columns)
    found = columns.get("text") or columns.get(TEXT_OF.get(data, "text"))
    return {"text": found} if found else {}


def record_kind(name: str, *, labels: Sequence[str] | None = None) -> RecordKind:
    """The kind of record that a config names.

    Args:
        name: A key of `RECORD_KINDS`.
        labels: The class names, for labelled text; other kinds have none.

    Raises:
        UserError: If there is no such kind, or it has no labels and some are given.
    """
    if name == LabelledText.name:
        return LabelledText(labels=labels)
    if name not in RECORD_KINDS:
        raise UserError(
            f"data.kind must be a kind of record, but is {name!r}", nearest(name, RECORD_KINDS)
        )
    if labels is not None:
        raise UserError(f"data.labels must be null for {name} records, which have no labels")
    return RECORD_KINDS[name]()


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


def _input_text(
    kind: RecordKind,
    value: Mapping[str, Any] | str,
    columns: Mapping[str, Column] | None,
    name: str,
) -> str:
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


def _identity(row: Mapping[str, Any], columns: Mapping[str, Column], number: int | None) -> str:
    given = lookup(row, columns.get("id", "id"))
    if given is MISSING or given is None or given == "":
        return "" if number is None else str(number)
    identity = str(given)
    return identity if identity.isascii() else check_text(identity, "id")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)
