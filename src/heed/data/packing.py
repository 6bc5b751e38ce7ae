"""Batches whose rows are laid one after another, all of one shape: how rows are dealt to them.

Legend: N rows, s token streams of a row (source and target, or one), load of a batch = the tokens
of its rows in each stream.

Where nothing is padded, rows of any lengths may meet, and a batch's cost is its load. To give every
batch nearly the same load, rows are sorted by length and cut into strata of one row for each batch.
Of a stratum, the longest row goes to the batch with the smallest load (Graham 1969); every
second stratum is dealt by the difference of the streams instead of by their sum, so that both are
evened out. Rows of one length are dealt at random, and there are many of these.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from heed.data.batching import check_limits

ROUND = 16  # widths (or rows) are multiples of this, for the sake of matrix products
TRIES = 8  # deals of an epoch, until every batch fits


class Shape(NamedTuple):
    """What all packed batches of a process have in common.

    Attributes:
        widths: Token positions of each stream.
        longest: At least the tokens of the longest row of each stream, and the positions left over.
        rows: Most rows of a batch; those with fewer have empty ones beside them.
    """

    widths: tuple[int, ...]
    longest: tuple[int, ...]
    rows: int

    @classmethod
    def just_enough(cls, rows: int, streams: int) -> Shape:
        """For a batch of so many rows, whatever their lengths; the next multiple of rows."""
        return cls((0,) * streams, (1,) * streams, -(-rows // ROUND) * ROUND)


class Deal(NamedTuple):
    """Rows in the order of their batches.

    Attributes:
        order: (N,) row numbers.
        batches: (batches + 1,) places in `order` where a batch begins; N at the end.
    """

    order: np.ndarray
    batches: np.ndarray


class PackedPlan:
    """How rows become packed batches, in every epoch others, always as many and of one shape.

    Args:
        lengths: (N, s) tokens of each row in each stream, as they are packed.
        max_tokens: Most tokens of a batch, of all streams and processes together; None: no limit.
        batch_size: Most rows of a batch, likewise; None: no limit.
        world_size: Processes that a batch is dealt to.

    Raises:
        UserError: If neither limit is given or one is below 1.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        max_tokens: int | None,
        batch_size: int | None,
        world_size: int = 1,
    ) -> None:
        check_limits(max_tokens, batch_size)
        self.lengths = lengths.astype(np.int32)
        self.world_size = world_size
        budget = np.inf if max_tokens is None else max_tokens
        self.oversized = int((lengths.sum(1) > budget).sum())
        least = 0.0 if batch_size is None else len(lengths) / batch_size
        self._cut(max(least, int(lengths.sum()) / budget))
        for _ in range(TRIES):
            positions = sum(self.shape.widths) * world_size
            if positions <= budget or self.count == self._most:
                break
            self._cut(self.count * positions / budget)

    @property
    def _most(self) -> int:
        return max(len(self.lengths) // self.world_size, 1)

    def _cut(self, wanted: float) -> None:
        self.count = min(max(1, int(np.ceil(wanted))), self._most)
        self.shape = self._shape(np.random.Generator(np.random.Philox(0)))

    def _shape(self, random: np.random.Generator) -> Shape:
        if not len(self.lengths):
            return Shape((ROUND,) * self.lengths.shape[1], (1,) * self.lengths.shape[1], 1)
        deal = self._deal(random)
        loads = self.loads(deal)
        most = loads.max(axis=(0, 1)) * 1.001  # (s,)
        left = 2 * (most - loads.min(axis=(0, 1))) + ROUND  # of a width, where a load is small
        longest = self.lengths.max(axis=0)
        widths = [
            -(-int(np.ceil(max(load, one))) // ROUND) * ROUND
            for load, one in zip(most, longest.tolist(), strict=True)
        ]
        rows = -(-int(np.diff(deal.batches).max()) // self.world_size)
        spans = np.maximum(longest, np.ceil(left).astype(int)).tolist()
        return Shape(tuple(widths), tuple(spans), rows)

    def deal(self, random: np.random.Generator) -> Deal:
        """All rows, dealt anew; batches with a row more than others come first."""
        for _ in range(TRIES):
            deal = self._deal(random)
            if not len(self.lengths) or (self.loads(deal) <= self.shape.widths).all():
                break
        return deal

    def _deal(self, random: np.random.Generator) -> Deal:
        lengths, count = self.lengths, self.count
        totals = lengths.sum(axis=1)
        by_length = np.lexsort((random.random(len(lengths)), -totals))
        shares = lengths / np.maximum(lengths.sum(axis=0), 1)
        excess = shares[:, 0] - shares[:, -1]
        batch_of = np.empty(len(lengths), dtype=np.int64)
        loads, excesses = np.zeros(count, dtype=np.int64), np.zeros(count)
        for number, start in enumerate(range(0, len(lengths), count)):
            rows = by_length[start : start + count]
            by_sum = lengths.shape[1] == 1 or number % 2 == 0
            key, filled = (totals, loads) if by_sum else (excess, excesses)
            rows = rows[np.argsort(-key[rows], kind="stable")]
            batches = np.argsort(filled, kind="stable")[: len(rows)]
            batch_of[rows] = batches
            loads[batches] += totals[rows]
            excesses[batches] += excess[rows]
        sizes = np.bincount(batch_of, minlength=count)
        place = np.empty(count, dtype=np.int64)
        place[np.argsort(-sizes, kind="stable")] = np.arange(count)
        order = np.argsort(place[batch_of], kind="stable")
        cuts = np.concatenate([[0], np.cumsum(-np.sort(-sizes))])
        return Deal(order, cuts)

    def loads(self, deal: Deal) -> np.ndarray:
        """(batches, processes, s) tokens of each process's share of each batch."""
        batch = np.repeat(np.arange(self.count), np.diff(deal.batches))
        totals = self.lengths[deal.order].sum(axis=1)
        sort = np.lexsort((-totals, batch))  # longest first within a batch, as they are shared out
        process = share_out(np.arange(len(batch)) - deal.batches[batch], self.world_size)
        found = np.zeros((self.count, self.world_size, self.lengths.shape[1]), dtype=np.int64)
        np.add.at(found, (batch, process), self.lengths[deal.order[sort]])
        return found

    @property
    def padding_share(self) -> float:
        """Share of the positions that hold no token."""
        positions = self.count * self.world_size * sum(self.shape.widths)
        return 1.0 - int(self.lengths.sum()) / positions


def share_out(places: np.ndarray, processes: int) -> np.ndarray:
    """The process that gets the row at each place of a batch, longest first: to and fro, so that
    all get as many rows (to within one) and about as many tokens."""
    turn = places % (2 * processes)
    return np.minimum(turn, 2 * processes - 1 - turn)
