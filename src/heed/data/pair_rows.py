"""How a source text and the target text to be written for it lie in rows and batches.

An encoder-decoder reads them as two rows, a decoder as one after the other in one row.

Legend: B rows, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from heed.data.batch import PairBatch, PrefixBatch, Tokens, layout_of, lengths_of
from heed.data.preparation import require_length
from heed.data.token_rows import integers, lists
from heed.ragged import Ragged, joined
from heed.text.tokenizer import Tokenizer

Records = list[dict[str, Any]] | None
Row = Mapping[str, Any]


class PairRows(Protocol):
    """Makes rows of a source and a target, and batches of the rows.

    Attributes:
        streams, scalar_columns, list_columns: See `Preparation`.
        start_ids: What a model is given of a target, at least a token; the rest it writes.
    """

    streams: ClassVar[tuple[str, ...]]
    scalar_columns: ClassVar[tuple[str, ...]]
    list_columns: ClassVar[tuple[str, ...]]
    start_ids: list[int]

    def rows(self, source: Ragged, target: Ragged, known: np.ndarray) -> dict[str, Any]:
        """The columns of B rows but their index, from ids without special tokens.

        Args:
            source: What is read.
            target: What is to be written.
            known: (B,) bool, where there is a target.
        """
        ...

    def collate(self, rows: Sequence[Row], records: Records) -> PairBatch | PrefixBatch:
        """A batch of rows; it has no target if some row has none."""
        ...

    def parts(self) -> dict[str, Any]:
        """What else a fingerprint of the rows depends on."""
        ...


class TwoRows:
    """A source row, usually tokens + eos, and a target row, usually bos + tokens + eos.

    Args:
        source_tokenizer: Tokenizer of the source side.
        target_tokenizer: Tokenizer of the target side.
        max_source_length: Most tokens of a source row, special tokens included.
        max_target_length: Most tokens of a target row, likewise.

    Raises:
        UserError: If a length limit leaves no room for text.
    """

    streams: ClassVar[tuple[str, ...]] = ("source", "target")
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut")
    list_columns: ClassVar[tuple[str, ...]] = ("source", "target", "lengths")

    def __init__(
        self,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        max_source_length: int,
        max_target_length: int,
    ) -> None:
        self.source, self.target = (
            source_tokenizer.around["source"],
            target_tokenizer.around["target"],
        )
        self.keep_source = _room("source", max_source_length, self.source.special)
        self.keep_target = _room("target", max_target_length, self.target.special)
        self.source_pad, self.target_pad = source_tokenizer.pad_id, target_tokenizer.pad_id
        self.start_ids = self.target.before

    def rows(self, source: Ragged, target: Ragged, known: np.ndarray) -> dict[str, Any]:
        """See `PairRows`; without a target its row is empty."""
        target = target.only(known)
        read = source.first(self.keep_source).within(self.source.before, self.source.after)
        written = target.first(self.keep_target).within(self.target.before, self.target.after)
        written = written.only(known)
        return {
            "cut": _lost(source, self.keep_source) + _lost(target, self.keep_target),
            "source": read,
            "target": written,
            "lengths": Ragged.of_columns(read.lengths, written.lengths),
        }

    def collate(self, rows: Sequence[Row], records: Records) -> PairBatch:
        """See `PairRows`."""
        targets = lists(rows, "target")
        known = bool(lengths_of(targets).all())
        return PairBatch(
            source=Tokens.padded(lists(rows, "source"), self.source_pad),
            target=Tokens.padded(targets, self.target_pad) if known else None,
            records=records,
            indices=integers(rows, "index").tolist(),
        )

    def parts(self) -> dict[str, Any]:
        """Nothing: rows were like this before there were others."""
        return {}


class OneRow:
    """A source and its target in one row, usually bos + source + sep + target + eos (Liu et al.
    2018, section 4.2.3).

    "prefix" counts the tokens of the row that are read: bos and the source. What follows is
    written, after sep, which stands where an encoder-decoder's target has its bos.

    Args:
        tokenizer: Tokenizer of both sides.
        max_source_length: Most tokens of the prefix, bos included.
        max_target_length: Most tokens of the rest, sep and eos included.

    Raises:
        UserError: If a length limit leaves no room for text.
    """

    streams: ClassVar[tuple[str, ...]] = ("text",)
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut", "prefix")
    list_columns: ClassVar[tuple[str, ...]] = ("text", "lengths")

    def __init__(
        self, tokenizer: Tokenizer, max_source_length: int, max_target_length: int
    ) -> None:
        self.around = tokenizer.around["joined"]
        *between, start = self.around.between
        self.start_ids = [start]
        self.between = between
        special = len(self.around.before) + len(between)
        self.keep_source = _room("source", max_source_length, special)
        self.keep_target = _room("target", max_target_length, 1 + len(self.around.after))
        self.pad_id = tokenizer.pad_id

    def rows(self, source: Ragged, target: Ragged, known: np.ndarray) -> dict[str, Any]:
        """See `PairRows`; without a target the row is its prefix."""
        target = target.only(known)
        prefix = source.first(self.keep_source).within(self.around.before, self.between)
        rest = target.first(self.keep_target).within(self.start_ids, self.around.after)
        text = joined([prefix, rest.only(known)])
        return {
            "cut": _lost(source, self.keep_source) + _lost(target, self.keep_target),
            "prefix": prefix.lengths,
            "text": text,
            "lengths": Ragged.of_columns(text.lengths),
        }

    def collate(self, rows: Sequence[Row], records: Records) -> PrefixBatch:
        """See `PairRows`."""
        tokens = Tokens.padded(lists(rows, "text"), self.pad_id)
        prefixes = integers(rows, "prefix")
        rest = lengths_of(lists(rows, "text")) - prefixes
        return PrefixBatch(
            tokens=tokens,
            prefix=layout_of(prefixes.tolist()),
            written=layout_of((rest - 1).tolist()) if rest.all() else None,
            records=records,
            indices=integers(rows, "index").tolist(),
        )

    def parts(self) -> dict[str, Any]:
        """That these are not two rows."""
        return {"rows": type(self).__name__}


def _room(side: str, most: int, special: int) -> int:
    """Tokens of a text that fit beside the special tokens of its side."""
    why = f"a token and {special} special ones"
    require_length(f"task.preparation.max_{side}_length", most, 1 + special, why)
    return most - special


def _lost(ids: Ragged, kept: int) -> np.ndarray:
    return np.maximum(0, ids.lengths - kept)
