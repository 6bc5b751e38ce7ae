"""Texts with a class (sentiment) as token rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from heed.data.batch import TextBatch, Tokens
from heed.data.preparation import Rows, digest, require_length
from heed.data.record_kind import RecordKind
from heed.data.records import LabelledText
from heed.data.token_rows import integers, lists
from heed.errors import UserError, nearest
from heed.ragged import Ragged
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently
UNKNOWN = -1


class LabelledTextPreparation:
    """Rows of a text, usually cls + tokens + eos, and the number of its class.

    A text that is too long is cut at its tail; the row's "cut" counts the tokens lost.

    Args:
        tokenizer: Tokenizer of the texts.
        labels: Names of the classes; a class's number is its place here.
        max_length: Most tokens of a row, special tokens included.
        text_prefix: Text put before every text ("sst2 sentence: " for T5-like checkpoints).

    Raises:
        UserError: If there are fewer than two labels, one twice, or no room for text.
    """

    kind: ClassVar[type[RecordKind]] = LabelledText
    streams: ClassVar[tuple[str, ...]] = ("text",)
    told: ClassVar[tuple[str, ...]] = ()
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut", "label")
    list_columns: ClassVar[tuple[str, ...]] = ("text", "lengths")

    def __init__(
        self, *, tokenizer: Tokenizer, labels: list[str], max_length: int, text_prefix: str = ""
    ) -> None:
        special = tokenizer.around["text"].special
        require_length(
            "task.preparation.max_length",
            max_length,
            1 + special,
            f"a token and {special} special ones",
        )
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise UserError(
                f"data.labels must name two or more different classes, but is {labels}",
                "list each class once, or leave data.labels=null to take the training split's",
            )
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.max_length = max_length
        self.text_prefix = text_prefix
        self._numbers = {name: number for number, name in enumerate(self.labels)}

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """One row a record; without labels (prediction) the class is -1.

        Raises:
            UserError: If a label is not among the classes.
        """
        texts = [self.text_prefix + text for text in records["text"]]
        labels = records.get("label") or [None] * len(texts)
        around = self.tokenizer.around["text"]
        keep = self.max_length - around.special
        ids = self.tokenizer.encode_flat(texts)
        text = ids.first(keep).within(around.before, around.after)
        numbers = [self._number(label, i) for i, label in zip(indices, labels, strict=True)]
        return {
            "index": np.asarray(indices),
            "cut": np.maximum(0, ids.lengths - keep),
            "label": np.array(numbers, dtype=np.int64),
            "text": text,
            "lengths": Ragged.of_columns(text.lengths),
        }

    def _number(self, label: str | None, index: int) -> int:
        if label is None:
            return UNKNOWN
        if label not in self._numbers:
            raise UserError(
                f"the label of record {index} must be one of data.labels, but is {label!r}",
                nearest(label, self.labels),
            )
        return self._numbers[label]

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> TextBatch:
        """A batch of rows; its labels are None when a row has none."""
        labels = torch.from_numpy(integers(rows, "label").astype(np.int64))
        return TextBatch(
            tokens=Tokens.padded(lists(rows, "text"), self.tokenizer.pad_id),
            labels=None if bool((labels == UNKNOWN).any()) else labels,
            records=records,
            indices=integers(rows, "index").tolist(),
        )

    def fingerprint(self) -> str:
        """Digest of the tokenizer, the classes, the limit and the prefix."""
        return digest(
            {
                "preparation": type(self).__name__,
                "encoding": ENCODING,
                "tokenizer": self.tokenizer.fingerprint,
                "labels": self.labels,
                "length": self.max_length,
                **({"prefix": self.text_prefix} if self.text_prefix else {}),
            }
        )
