"""Which rows make which batch of which process, and in what order.

Legend: N rows, s token streams of a row. How batches are cut is told in `heed.data.batching`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import SequentialSampler

from heed.data.batching import (
    Plan,
    check_limits,
    epoch_order,
    join,
    padding_share,
    plan_batches,
)
from heed.data.packing import PackedPlan, Shape, share_out
from heed.errors import UserError

BATCHES_PER_CELL = 2  # more mixes rows better, and makes more batches, 2 % more when doubled


class BatchSampler(SequentialSampler):
    """What the samplers here are to Lightning: with `overfit_batches` it replaces all others."""

    def __init__(self) -> None:
        """There is no data set to be known."""


class EpochRows(list[int]):
    """The row numbers of a training batch, and the epoch in which they are drawn.

    Args:
        numbers: The rows.
        epoch: The epoch; 0 in every one where each is to be like the first.
    """

    def __init__(self, numbers: list[int], epoch: int) -> None:
        super().__init__(numbers)
        self.epoch = epoch

    def __reduce__(self) -> tuple[type[EpochRows], tuple[list[int], int]]:
        return type(self), (list(self), self.epoch)


class TokenBudgetSampler(BatchSampler):
    """Batches for training: every row once an epoch, in an order that (seed, epoch) decides.

    What is decided are *global* batches, which do not know how many processes there are. Of each
    the process `rank` takes every `world_size`-th row, longest first, so that all processes have
    as many rows (to within one) of about the same lengths.

    The order is a pure function of (seed, epoch), so a place in the data is two numbers: `epoch`
    and `position`, the global batches of the epoch that are done or left out. Iteration starts at
    `position` and leaves it alone: who trains on the batches moves it.

    Args:
        lengths: (N, s) tokens of each row in each stream.
        max_tokens: Most token positions of a global batch, padding included; None for no limit.
        batch_size: Most rows of a global batch; None for no limit.
        seed: Decides the order together with the epoch.
        shuffle: False keeps one order, longest batches first, for every epoch.
        rank: Number of this process.
        world_size: Number of processes.
        packed: Whether rows are laid one after another, so that rows of any lengths may meet; see
            `heed.data.packing`.

    Raises:
        UserError: If neither or a useless limit is given, or a process would get an empty batch.

    Attributes:
        oversized: Rows which alone cost more than `max_tokens`; each is a batch by itself, or makes
            all packed ones larger.
        shape: What packed batches of a process have in common; None where rows are padded.
    """

    def __init__(
        self,
        *,
        lengths: np.ndarray,
        max_tokens: int | None,
        batch_size: int | None,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        packed: bool = False,
    ) -> None:
        self.lengths = _two_dimensional(lengths)
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.position = 0
        self.left_out: set[tuple[int, int]] = set()
        """(epoch, position) of batches that are never given, whatever process they were for."""
        self._packed: PackedPlan | None = None
        self.shape: Shape | None = None
        if packed:
            self._packed = PackedPlan(
                self.lengths, max_tokens=max_tokens, batch_size=batch_size, world_size=world_size
            )
            self.shape = self._packed.shape
            self._cuts = self._packed.deal(self._random(0)).batches
            self.oversized = self._packed.oversized
        else:
            self._plan = plan_batches(self.lengths, max_tokens, batch_size, BATCHES_PER_CELL)
            self._cuts, self.oversized = self._plan.batches, self._plan.oversized
        self._refuse_empty_ranks(max_tokens, batch_size)

    @property
    def padding_share(self) -> float:
        """Share of padding among the token positions of this epoch's global batches."""
        if self._packed is not None:
            return self._packed.padding_share
        return padding_share(self.lengths, self._epoch_rows(), self._cuts)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; in the epoch where it already is, stay at its position."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.position = 0

    def advance(self) -> None:
        """Say that the next batch is done."""
        self._pass_left_out()
        self.position += 1
        self._pass_left_out()

    def next_place(self) -> tuple[int, int]:
        """(epoch, position) of the batch that comes next."""
        self._pass_left_out()
        return self.epoch, self.position

    def remaining(self) -> int:
        """Batches of this epoch that are still to come."""
        ahead = [p for p in self.left_out_here if p >= self.position]
        return len(self) - self.position - len(ahead)

    @property
    def left_out_here(self) -> list[int]:
        """Positions of this epoch that are left out."""
        return sorted(p for epoch, p in self.left_out if epoch == self.epoch and p < len(self))

    def _pass_left_out(self) -> None:
        while (self.epoch, self.position) in self.left_out:
            self.position += 1

    def state_dict(self) -> dict[str, Any]:
        """The place in the data, and what is left out of it."""
        state: dict[str, Any] = {"epoch": self.epoch, "position": self.position}
        if self.left_out:
            state["left_out"] = [list(place) for place in sorted(self.left_out)]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place in the data.

        Raises:
            UserError: If the epoch has no such place: the data or its batching has changed.
        """
        if not 0 <= state["position"] <= len(self):
            raise UserError(
                f"the place to resume from must be within the epoch's {len(self)} batches, "
                f"but is batch {state['position']}",
                "resume with the data and the data.max_tokens or data.batch_size of the run",
            )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self.left_out |= {(int(epoch), int(place)) for epoch, place in state.get("left_out", ())}

    def __len__(self) -> int:
        """Global batches of a whole epoch, the same for every epoch and process; none left out."""
        return len(self._cuts) - 1

    def __iter__(self) -> Iterator[list[int]]:  # type: ignore[override]
        """This process's rows of each global batch from `position` on."""
        rows, batches = self._epoch_rows(), self._cuts
        order = np.arange(len(self))
        if self.shuffle:
            order = self._random(1).permutation(len(self))
        left_out = set(self.left_out_here)
        for position in range(self.position, len(self)):
            if position in left_out:
                continue
            number = order[position]
            batch = rows[batches[number] : batches[number + 1]]
            longest_first = np.argsort(-self.lengths[batch].sum(axis=1), kind="stable")
            mine = batch[longest_first][self._mine(len(batch))].tolist()
            yield EpochRows(mine, self.epoch if self.shuffle else 0)

    def _mine(self, rows: int) -> np.ndarray:
        """The places of this process's rows in a batch, longest first."""
        places = np.arange(rows)
        if self._packed is not None:
            return places[share_out(places, self.world_size) == self.rank]
        return places[self.rank :: self.world_size]

    def _epoch_rows(self) -> np.ndarray:
        """(N,) row numbers in the order of batches: the cells of the plan, each shuffled for
        this epoch, or packed ones dealt for it."""
        if self._packed is not None:
            epoch = self.epoch if self.shuffle else 0
            return self._packed.deal(self._random(0, epoch)).order
        if not self.shuffle:
            return self._plan.order
        return epoch_order(self._plan, self.lengths, self._random(0))

    def _random(self, use: int, epoch: int | None = None) -> np.random.Generator:
        key = [self.seed, self.epoch if epoch is None else epoch, use]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

    def _refuse_empty_ranks(self, max_tokens: int | None, batch_size: int | None) -> None:
        sizes = np.diff(self._cuts)
        if self.world_size == 1 or not len(sizes) or sizes.min() >= self.world_size:
            return
        processes = f"each of the {self.world_size} processes"
        if len(self.lengths) < self.world_size:
            raise UserError(
                f"the training split must have at least one row for {processes}, "
                f"but has {len(self.lengths)}",
                f"use at most {len(self.lengths)} processes",
            )
        if batch_size is not None and batch_size < 2 * self.world_size:
            raise UserError(
                f"data.batch_size must be large enough to give {processes} a row, "
                f"but is {batch_size}",
                f"try data.batch_size={2 * self.world_size}",
            )
        longest = int(self.lengths.sum(axis=1).max())
        raise UserError(
            f"data.max_tokens must be large enough to give {processes} a row of every batch, "
            f"but is {max_tokens} while the longest row has {longest} tokens",
            f"try data.max_tokens={2 * self.world_size * longest}",
        )


class EvaluationSampler(BatchSampler):
    """Batches for evaluation: every row once, similar lengths together, longest first.

    Rows of one example (the windows of a passage) come in one batch. Whole batches are dealt to
    the processes in turn; every process gets the same number of them (a few are halved for it),
    unless there are fewer examples than that takes.

    Args:
        lengths: (N, s) tokens of each row in each stream.
        max_tokens: Most token positions of a batch, padding included; None for no limit.
        batch_size: Most rows of a batch; None for no limit.
        examples: (N,) number of the example that each row belongs to; the rows of an example are
            neighbours. None when every row is an example.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        UserError: If neither or a useless limit is given.

    Attributes:
        oversized: Examples which alone cost more than `max_tokens`, each a batch by itself.
    """

    def __init__(
        self,
        *,
        lengths: np.ndarray,
        max_tokens: int | None,
        batch_size: int | None,
        examples: np.ndarray | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_limits(max_tokens, batch_size)
        self.lengths = _two_dimensional(lengths)
        self.rank = rank
        self.world_size = world_size
        self._first, self._count = _examples(len(self.lengths), examples)
        plan = self._plan(max_tokens, batch_size)
        self.oversized = plan.oversized
        self._order = plan.order
        self._batches = _halved_until_even(plan.batches, world_size)

    @property
    def padding_share(self) -> float:
        """Share of padding among the token positions of all processes' batches."""
        rows_before = np.concatenate([[0], np.cumsum(self._count[self._order])])
        return padding_share(self.lengths, self._rows(self._order), rows_before[self._batches])

    def __len__(self) -> int:
        """Batches of this process."""
        return len(range(self.rank, len(self._batches) - 1, self.world_size))

    def __iter__(self) -> Iterator[list[int]]:  # type: ignore[override]
        """The rows of each of this process's batches."""
        for number in range(self.rank, len(self._batches) - 1, self.world_size):
            examples = self._order[self._batches[number] : self._batches[number + 1]]
            yield self._rows(examples).tolist()

    def _rows(self, examples: np.ndarray) -> np.ndarray:
        """The rows of some examples, those of one example together and in their order."""
        count = self._count[examples]
        before = np.repeat(np.cumsum(count) - count, count)
        return np.repeat(self._first[examples], count) + np.arange(count.sum()) - before

    def _plan(self, max_tokens: int | None, batch_size: int | None) -> Plan:
        """Examples with the same number of rows are batched together, most rows first."""
        plans = []
        for rows in np.unique(self._count)[::-1].tolist():
            same = np.flatnonzero(self._count == rows)
            widest = np.maximum.reduceat(self.lengths, self._first, axis=0)[same]
            most = None if batch_size is None else max(1, batch_size // rows)
            plan = plan_batches(widest * rows, max_tokens, most, batches_per_cell=1)
            plans.append(plan._replace(order=same[plan.order]))
        return join(plans)


def _examples(rows: int, examples: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """First row and number of rows of each example."""
    if examples is None:
        return np.arange(rows), np.ones(rows, dtype=np.int64)
    first = np.flatnonzero(np.diff(examples, prepend=-1))
    return first, np.diff(np.append(first, rows))


def _halved_until_even(batches: np.ndarray, world_size: int) -> np.ndarray:
    """More cuts, so that the number of batches is a multiple of `world_size` if rows allow."""
    while (len(batches) - 1) % world_size:
        sizes = np.diff(batches)
        largest = int(sizes.argmax())
        if sizes[largest] < 2:
            break
        batches = np.insert(batches, largest + 1, batches[largest] + sizes[largest] // 2)
    return batches


def _two_dimensional(lengths: np.ndarray) -> np.ndarray:
    lengths = np.asarray(lengths)
    assert lengths.ndim == 2, f"lengths must be (rows, streams), but is {lengths.shape}"
    return lengths
