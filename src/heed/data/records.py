"""The kinds of record that every data set is turned into, whatever its files look like.

- pairs:         {"source": str, "target": str, "references": list[str]}
- labelled_text: {"text": str, "label": str}
- texts:         {"text": str}; to predict from, {"prompt": str}
- passages:      {"id": str, "question": str, "context": str,
                  "answers": list[str], "starts": list[int]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from heed.data.columns import MISSING, Column, lookup
from heed.data.record_kind import (
    InvalidRow,
    Record,
    RecordKind,
    check_text,
    identity_of,
    input_text,
    read_text,
    whole_number,
)
from heed.errors import UserError, nearest


class Pairs(RecordKind):
    """A text and the text to make of it: translation, summarization.

    Spaces around a text are removed. `references[0]` is the target unless the data has several.
    """

    name = "pairs"
    text = "source"
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
        return {"source": input_text(self, value, columns, "source").strip()}

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
    text = "text"
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
        return {"text": input_text(self, value, columns, "text").strip()}

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`."""
        return [] if side == "target" else [record["text"]]


class Texts(RecordKind):
    """A text and nothing else: language modelling. Any data set has such records in it."""

    name = "texts"
    text = "text"
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
        return {"prompt": input_text(self, value, columns, "text").strip()}

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`."""
        return [] if side == "target" else [record["text"]]


class Passages(RecordKind):
    """A question, the passage it is asked about, and the spans that answer it.

    No answers mean that the passage does not answer the question. The context is kept as it is, so
    that starts stay true. Where the data gives no starts, an answer's first occurrence is taken.
    """

    name = "passages"
    text = "context"
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
            "id": identity_of(row, columns, number),
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
            return answers, [whole_number(place) for place in places]
        except (TypeError, ValueError):
            raise InvalidRow("starts is not a whole number", repr(places)[:40]) from None

    def from_input(
        self, value: Mapping[str, Any] | str, columns: Mapping[str, Column] | None = None
    ) -> Record:
        """See `RecordKind.from_input`."""
        if isinstance(value, str):
            raise InvalidRow("a question comes with its passage, as two columns: question, context")
        columns = columns or {}
        return {
            "id": identity_of(value, columns, None),
            "question": input_text(self, value, columns, "question").strip(),
            "context": input_text(self, value, columns, "context"),
        }

    def texts(self, record: Record, side: Literal["source", "target"] | None = None) -> list[str]:
        """See `RecordKind.texts`; an answer is part of its passage."""
        return (
            list(record["answers"]) if side == "target" else [record["question"], record["context"]]
        )


RECORD_KINDS: dict[str, type[RecordKind]] = {
    kind.name: kind for kind in (Pairs, LabelledText, Texts, Passages)
}


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
    found = columns.get("text") or columns.get(RECORD_KINDS.get(data, Texts).text)
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
