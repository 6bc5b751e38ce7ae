"""What a training or evaluation step receives: small typed batches.

Legend: B rows, T padded positions (S of a source, T of a target), P columns of the longest prefix,
W tokens of the longest target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.ragged import Ragged

Self = TypeVar("Self", bound="Movable")


class Movable:
    """A dataclass of tensors, layouts and plain values whose tensors travel together."""

    def to(self: Self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same object with its tensors on `device`; plain values stay as they are."""
        return self._moved(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self: Self) -> Self:
        """The same object in page-locked memory, so that copies to a GPU can overlap."""
        return self._moved(lambda part: part.pin_memory())

    def _moved(self: Self, move: Callable[[Any], Any]) -> Self:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        moved = {
            name: move(part)
            for name, part in parts.items()
            if isinstance(part, (Tensor, Padded, Movable))
        }
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass
class Tokens(Movable):
    """Token rows together with how they lie in their tensor.

    Attributes:
        ids: (B, T) int64, padded on the right.
        layout: The lengths of the rows and the padded width.
        real_tokens: Tokens that are not padding, counted on the host when the batch was made, so
            that asking never waits for a GPU. Counted from `layout` when it is not given.
    """

    ids: Tensor
    layout: Padded
    real_tokens: int = -1

    def __post_init__(self) -> None:
        if self.real_tokens < 0:
            self.real_tokens = int(self.layout.lengths.sum())

    @classmethod
    def padded(cls, rows: Sequence[Sequence[int] | np.ndarray], pad_id: int) -> Tokens:
        """Rows of token ids, padded on the right with `pad_id` to the longest of them."""
        lengths = lengths_of(rows)
        ids = pad(rows, lengths, fill=pad_id)
        full = bool((lengths == ids.shape[1]).all())
        layout = Padded(torch.from_numpy(lengths), ids.shape[1], full=full)
        return cls(torch.from_numpy(ids), layout, int(lengths.sum()))

    @property
    def token_positions(self) -> int:
        """B * T: the positions that are computed, padding included."""
        return self.layout.token_positions

    def __len__(self) -> int:
        return self.ids.shape[0]


class Examples(Movable):
    """What every batch says about the examples that it holds."""

    records: list[dict[str, Any]] | None
    indices: list[int]

    @property
    def examples(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and record of each example, in the order of first rows; for evaluation.

        An example with several rows has them all in one evaluation batch.
        """
        assert self.records is not None, "training batches carry no records"
        return list(dict(zip(self.indices, self.records, strict=True)).items())

    def __len__(self) -> int:
        """B, the rows."""
        return len(self.indices)


class RowExamples(Examples):
    """Examples whose rows are all in one tensor of tokens."""

    tokens: Tokens

    @property
    def real_tokens(self) -> int:
        """Tokens without padding."""
        return self.tokens.real_tokens

    @property
    def token_positions(self) -> int:
        """Positions, padding included."""
        return self.tokens.token_positions


@dataclass
class PairBatch(Examples):
    """Source texts and the texts to be written for them.

    The decoder reads `target.ids[:, :-1]` (layout `target.layout.drop_last()`) and is asked for
    `target.ids[:, 1:]`.

    Attributes:
        source: ids (B, S), each row tokens + eos.
        target: ids (B, T), each row bos + tokens + eos; None when there is nothing to learn from.
        records: The B records as read, for scoring; None in training.
        indices: B numbers of the records in their split or input.
    """

    source: Tokens
    target: Tokens | None
    records: list[dict[str, Any]] | None
    indices: list[int]

    @property
    def real_tokens(self) -> int:
        """Source and target tokens without padding."""
        return self.source.real_tokens + (self.target.real_tokens if self.target else 0)

    @property
    def token_positions(self) -> int:
        """Source and target positions, padding included."""
        return self.source.token_positions + (self.target.token_positions if self.target else 0)


@dataclass
class PrefixBatch(RowExamples):
    """Texts to be read and those to be written for them, one after the other in one row.

    A decoder reads `tokens.ids[:, :-1]`. It is asked for the W tokens of a row that `written`
    counts; the first of them follows the token in column `prefix.lengths`.

    Attributes:
        tokens: ids (B, T), each row bos + source + sep + target + eos; without the three last when
            there is nothing to learn from.
        prefix: Layout of the P first columns, which are read: bos + source.
        written: Layout of the W tokens that are asked for, target + eos; None when there is nothing
            to learn from.
        records: The B records as read, for scoring; None in training.
        indices: B numbers of the records in their split or input.
    """

    tokens: Tokens
    prefix: Padded
    written: Padded | None
    records: list[dict[str, Any]] | None
    indices: list[int]

    @property
    def prompt(self) -> Tensor:
        """(B, P) ids of the prefixes; what stands behind a shorter one is not to be looked at."""
        return self.tokens.ids[:, : self.prefix.width]


@dataclass
class TextBatch(RowExamples):
    """Texts and their classes, or texts alone.

    Attributes:
        tokens: ids (B, T), each row cls + tokens + eos; for a decoder bos + tokens + eos.
        labels: (B,) int64 class numbers; None when they are unknown.
        records: The B records as read; None in training.
        indices: B numbers of the records in their split or input.
    """

    tokens: Tokens
    labels: Tensor | None
    records: list[dict[str, Any]] | None
    indices: list[int]


@dataclass
class MaskedBatch(RowExamples):
    """Texts of which some tokens are hidden.

    A long text has several rows, in evaluation all in one batch; `indices` says which belong
    together. No row has more than K hidden tokens.

    Attributes:
        tokens: ids (B, T), each row cls + tokens + eos, hidden ones replaced.
        places: (B, K) int64 columns of the hidden tokens, from the left; 0 beyond a row's count.
        counts: (B,) int64 hidden tokens of each row.
        labels: (B, K) int64 what the hidden tokens were; None when that is asked.
        records: The B records as read; None in training.
        indices: B numbers of the records in their split or input.
    """

    tokens: Tokens
    places: Tensor
    counts: Tensor
    labels: Tensor | None
    records: list[dict[str, Any]] | None
    indices: list[int]


@dataclass
class SpanBatch(RowExamples):
    """Windows of passages, each behind its question, and where the answer lies.

    A record whose passage is long has several windows, in evaluation all in one batch; `indices`
    says which belong together.

    Attributes:
        tokens: ids (B, T), each row cls + question + sep + passage window + eos.
        passage_mask: (B, T) bool, True on the tokens of the passage.
        starts: (B,) int64 column of the answer's first token; 0 (the cls token) when the answer
            is not in this window; None when answers are unknown.
        ends: (B,) int64 column of the answer's last token, likewise.
        offsets: (B, T, 2) int64 first and past-the-end character of each passage token in its
            context, -1 elsewhere; None in training.
        records: The B records as read; None in training.
        indices: B numbers of the records in their split or input.
    """

    tokens: Tokens
    passage_mask: Tensor
    starts: Tensor | None
    ends: Tensor | None
    offsets: Tensor | None
    records: list[dict[str, Any]] | None
    indices: list[int]


Batch = PairBatch | PrefixBatch | TextBatch | MaskedBatch | SpanBatch


def lengths_of(rows: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """(B,) int64 lengths of B rows."""
    if isinstance(rows, Ragged):
        return rows.lengths
    return np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))


def layout_of(lengths: Sequence[int]) -> Padded:
    """The layout of rows of these lengths, padded to the longest."""
    width = max(lengths, default=0)
    full = all(length == width for length in lengths)
    return Padded(torch.tensor(lengths, dtype=torch.long), width, full=full)


def pad(
    rows: Sequence[Sequence[int] | np.ndarray], lengths: np.ndarray, *, fill: int, width: int = 0
) -> np.ndarray:
    """(B, T) int64: rows of integers padded on the right with `fill` to the longest, or `width`."""
    width = max(width, int(lengths.max(initial=0)), 1)
    padded = np.full((len(rows), width), fill, dtype=np.int64)
    if lengths.sum():
        flat = rows.flat if isinstance(rows, Ragged) else np.concatenate(rows)
        padded[np.arange(width) < lengths[:, None]] = flat
    return padded
