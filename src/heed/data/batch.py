"""What a training or evaluation step receives: small typed batches.

Legend: B rows, T padded positions (S of a source, T of a target), N packed positions, P columns of
the longest prefix, W tokens of the longest target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.packed import Packed
from heed.data.packing import Shape
from heed.ragged import Ragged

Self = TypeVar("Self", bound="Movable")
STEP = 64
"""Positions of packed batches that are not all of one shape are counted in multiples of this, so
that few shapes come up."""
COUNT_ROUND = 256
"""Places of a packed batch that are asked for are counted in multiples of this."""


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
            if isinstance(part, (Tensor, Padded, Packed, Movable))
        }
        return replace(self, **moved)  # type: ignore[type-var]


class Asked(NamedTuple):
    """Tokens that are to be told one after another, each from those before it.

    Attributes:
        ids: (B, T-1) or packed (1, N), what is read.
        layout: Its layout.
        labels: The token that follows each.
        mask: Bool, where there is one.
    """

    ids: Tensor
    layout: Any
    labels: Tensor
    mask: Tensor


@dataclass
class Tokens(Movable):
    """Token rows together with how they lie in their tensor.

    Attributes:
        ids: (B, T) int64, padded on the right; packed (1, N), the rows one after another.
        layout: The lengths of the rows and the padded width, or N.
        real_tokens: Tokens that are not padding, counted on the host when the batch was made, so
            that asking never waits for a GPU. Counted from `layout` when it is not given.
        following: (1, N) int64, the token after each of packed rows that are to be told, whose last
            tokens are not among the ids; else None.
    """

    ids: Tensor
    layout: Any  # Padded or Packed
    real_tokens: int = -1
    following: Tensor | None = None

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

    def packed(self, width: int, longest: int, rows: int, *, told: bool = False) -> Tokens:
        """The rows one after another.

        Args:
            width: N; if they do not fit, a multiple of `STEP` where they do.
            longest: At least the tokens of any row.
            rows: How many there shall be at least; empty ones are added.
            told: Whether they are to be told token by token: the last of each is not read.
        """
        given = self.layout.drop_last() if told else self.layout
        mask, total = given.mask(), int(given.lengths.sum())
        width, ids = max(width, -(-total // STEP) * STEP), self.ids[:, : given.width]
        lengths = torch.nn.functional.pad(given.lengths, (0, max(0, rows - given.rows)))
        return Tokens(
            ids=_one_row(ids[mask], width),
            layout=Packed(lengths, width, max(longest, given.width, width - total)),
            real_tokens=total,
            following=_one_row(self.ids[:, 1:][mask], width) if told else None,
        )

    def asked(self) -> Asked:
        """What is read of rows that are told token by token, and what is asked for."""
        if self.following is not None:
            return Asked(self.ids, self.layout, self.following, self.layout.mask())
        layout = self.layout.drop_last()
        return Asked(self.ids[:, :-1], layout, self.ids[:, 1:], layout.mask())

    @property
    def token_positions(self) -> int:
        """The positions that are computed: B * T, padding included, or N."""
        return self.layout.token_positions

    def __len__(self) -> int:
        return self.layout.rows


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

    What the decoder reads and is asked for is `target.asked()`.

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

    def packed(self, shape: Shape) -> PairBatch:
        """The same rows packed."""
        assert self.target is not None
        (source, target), (longest_source, longest_target) = shape.widths, shape.longest
        return replace(
            self,
            source=self.source.packed(source, longest_source, shape.rows),
            target=self.target.packed(target, longest_target, shape.rows, told=True),
        )


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
        places: (1, K) int64 where packed tokens stand that see one to be written, 0 beyond their
            number; None where rows are padded.
    """

    tokens: Tokens
    prefix: Padded
    written: Padded | None
    records: list[dict[str, Any]] | None
    indices: list[int]
    places: Tensor | None = None

    def packed(self, shape: Shape) -> PrefixBatch:
        """The same rows packed."""
        assert self.written is not None
        tokens = self.tokens.packed(shape.widths[0], shape.longest[0], shape.rows, told=True)
        begins = tokens.layout.offsets[: self.written.rows] + self.prefix.lengths  # (B,)
        places = (begins[:, None] + self.written.positions())[self.written.mask()]
        most = -(-len(places) // COUNT_ROUND) * COUNT_ROUND
        return replace(self, tokens=tokens, places=_one_row(places, most))

    @property
    def prompt(self) -> Tensor:
        """(B, P) ids of the prefixes; what stands behind a shorter one is not to be looked at."""
        return self.tokens.ids[:, : self.prefix.width]


@dataclass
class TextBatch(RowExamples):
    """Texts and their classes, or texts alone.

    Attributes:
        tokens: ids (B, T), each row cls + tokens + eos; for a decoder bos + tokens + eos.
        labels: (B,) int64 class numbers; None when they are unknown, or the text is to be told.
        records: The B records as read; None in training.
        indices: B numbers of the records in their split or input.
    """

    tokens: Tokens
    labels: Tensor | None
    records: list[dict[str, Any]] | None
    indices: list[int]

    def packed(self, shape: Shape) -> TextBatch:
        """The same rows packed; those that are empty have class 0."""
        told = self.labels is None
        tokens = self.tokens.packed(shape.widths[0], shape.longest[0], shape.rows, told=told)
        labels = None if self.labels is None else _more_rows(self.labels, tokens.layout.rows)
        return replace(self, tokens=tokens, labels=labels)


@dataclass
class MaskedBatch(RowExamples):
    """Texts of which some tokens are hidden.

    A long text has several rows, in evaluation all in one batch; `indices` says which belong
    together. No row has more than K hidden tokens. Packed rows are one of K in all.

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

    def packed(self, shape: Shape) -> MaskedBatch:
        """The same rows packed, K rounded up so that batches of a kind are of one shape."""
        assert self.labels is not None
        tokens = self.tokens.packed(shape.widths[0], shape.longest[0], shape.rows)
        real = torch.arange(self.places.shape[1]) < self.counts[:, None]
        begins = tokens.layout.offsets[: len(self.counts), None]
        count = int(self.counts.sum())
        most = -(-count // COUNT_ROUND) * COUNT_ROUND
        return replace(
            self,
            tokens=tokens,
            places=_one_row((self.places + begins)[real], most),
            counts=self.counts.sum(0, keepdim=True),
            labels=_one_row(self.labels[real], most),
        )


@dataclass
class SpanBatch(RowExamples):
    """Windows of passages, each behind its question, and where the answer lies.

    A record whose passage is long has several windows, in evaluation all in one batch; `indices`
    says which belong together.

    Attributes:
        tokens: ids (B, T), each row cls + question + sep + passage window + eos.
        passage_mask: (B, T) bool, True on the tokens of the passage; not packed where tokens are.
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

    def packed(self, shape: Shape) -> SpanBatch:
        """The same rows with their tokens packed; empty rows have their answer at 0."""
        assert self.starts is not None
        assert self.ends is not None
        tokens = self.tokens.packed(shape.widths[0], shape.longest[0], shape.rows)
        columns = tokens.layout.longest - self.passage_mask.shape[1]
        mask = torch.nn.functional.pad(self.passage_mask, (0, columns))
        rows = tokens.layout.rows
        return replace(
            self,
            tokens=tokens,
            passage_mask=_more_rows(mask, rows),
            starts=_more_rows(self.starts, rows),
            ends=_more_rows(self.ends, rows),
            offsets=None,
        )


Batch = PairBatch | PrefixBatch | TextBatch | MaskedBatch | SpanBatch


def _one_row(values: Tensor, width: int) -> Tensor:
    """(V,) -> (1, N), zeros at the end."""
    return torch.nn.functional.pad(values, (0, width - len(values)))[None]


def _more_rows(x: Tensor, rows: int) -> Tensor:
    """(B, ...) -> (rows, ...), zeros at the end."""
    return torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])])


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
