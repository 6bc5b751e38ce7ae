"""Texts as token rows to be told token by token: causal language modelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from heed.data.batch import TextBatch, Tokens
from heed.data.preparation import Rows, digest, require_length
from heed.data.record_kind import RecordKind
from heed.data.records import Texts
from heed.data.token_rows import integers, lists
from heed.ragged import Ragged
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
    told: ClassVar[tuple[str, ...]] = ("text",)
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
        if records.get("prompt"):
            keep = self.max_length - 2
            ids = self.tokenizer.encode_flat(records["prompt"])
            lost = np.maximum(0, ids.lengths - keep)
            return _columns(np.asarray(indices), lost, ids.last(keep).within([bos], []))
        texts = self.tokenizer.encode_flat(records["text"]).within([bos], [eos])
        if training and self.packed:
            text, _ = _stream(texts, shared=bos == eos).cut(self.max_length, shared=1)
            index = np.full(len(text), indices[0])
        else:
            text, row = texts.cut(self.max_length, shared=1)
            index = np.asarray(indices)[row]
        return _columns(index, np.zeros_like(index), text)

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> TextBatch:
        """A batch of rows."""
        return TextBatch(
            tokens=Tokens.padded(lists(rows, "text"), self.tokenizer.pad_id),
            labels=None,
            records=records,
            indices=integers(rows, "index").tolist(),
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


def _columns(index: np.ndarray, cut: np.ndarray, text: Ragged) -> Rows:
    lengths = Ragged.of_columns(text.lengths)
    return {"index": index, "cut": cut, "text": text, "lengths": lengths}


def _stream(texts: Ragged, *, shared: bool) -> Ragged:
    """One row of all texts; one token between two where it ends the one and begins the other."""
    stream = texts.values
    if shared:
        stream = np.delete(stream, texts.offsets[1:-1] - 1)
    return Ragged(stream, np.array([0, len(stream)]))
