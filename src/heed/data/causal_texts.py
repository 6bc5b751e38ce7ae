"""Texts as token rows to be told token by token: causal language modelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

from heed.data.batch import TextBatch, Tokens
from heed.data.preparation import Rows, digest, require_length
from heed.data.record_kind import RecordKind
from heed.data.records import Texts
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently


class CausalTextPreparation:
    """Rows bos + tokens + eos; a text that is too long goes on in further rows, so none is lost.

    Packed, the texts to train on are one stream, cut into rows of `max_length`: no padding, and the
    rest of a text begins the next row. Packing begins anew with every chunk of texts that is
    encoded at once (1,000), whose last row is shorter. Texts that are evaluated are never packed.
    Where a text or the stream goes on in a further row, that row begins with the last token of the
    one before, so that each token is told exactly once.

    Args:
        tokenizer: Tokenizer of the texts.
        max_length: Most tokens of a row, bos and eos included.
        packed: Whether several texts share a row in training (Radford et al. 2019 and since).

    Raises:
        UserError: If no text has room.
    """

    kind: ClassVar[type[RecordKind]] = Texts
    streams: ClassVar[tuple[str, ...]] = ("text",)
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut")
    list_columns: ClassVar[tuple[str, ...]] = ("text", "lengths")

    def __init__(self, *, tokenizer: Tokenizer, max_length: int, packed: bool = True) -> None:
        require_length("task.preparation.max_length", max_length, 3, "bos, a token and eos")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.packed = packed

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """Rows of texts; of a prompt its last tokens, without eos and with room for one more."""
        bos, eos = self.tokenizer.bos_id, self.tokenizer.eos_id
        rows: Rows = {name: [] for name in (*self.scalar_columns, *self.list_columns)}

        def add(index: int, ids: list[int], cut: int = 0) -> None:
            rows["index"].append(index)
            rows["cut"].append(cut)
            rows["text"].append(ids)
            rows["lengths"].append([len(ids)])

        if records.get("prompt"):
            keep = self.max_length - 2
            for index, ids in zip(indices, self.tokenizer.encode(records["prompt"]), strict=True):
                add(index, [bos, *ids[max(0, len(ids) - keep) :]], max(0, len(ids) - keep))
            return rows
        texts = [[bos, *ids, eos] for ids in self.tokenizer.encode(records["text"])]
        if training and self.packed:
            for row in self._cut(_stream(texts, shared=bos == eos)):
                add(indices[0], row)
            return rows
        for index, ids in zip(indices, texts, strict=True):
            for row in self._cut(ids):
                add(index, row)
        return rows

    def _cut(self, ids: list[int]) -> Iterator[list[int]]:
        """Rows of `max_length`, each from the last token of the one before."""
        for first in range(0, max(1, len(ids) - 1), self.max_length - 1):
            yield ids[first : first + self.max_length]

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> TextBatch:
        """A batch of rows."""
        return TextBatch(
            tokens=Tokens.padded([row["text"] for row in rows], self.tokenizer.pad_id),
            labels=None,
            records=records,
            indices=[int(row["index"]) for row in rows],
        )

    def fingerprint(self) -> str:
        """Digest of the tokenizer, the limit and whether rows are packed."""
        return digest(
            {
                "preparation": type(self).__name__,
                "encoding": ENCODING,
                "tokenizer": self.tokenizer.fingerprint,
                "length": self.max_length,
                "packed": self.packed,
            }
        )


def _stream(texts: list[list[int]], *, shared: bool) -> list[int]:
    """Texts one after another; one token between two where it ends the one and begins the other."""
    if shared:
        return [*chain.from_iterable(text[:-1] for text in texts), texts[-1][-1]]
    return list(chain.from_iterable(texts))
