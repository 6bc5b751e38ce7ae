"""Which rows make which batch: batches of similar lengths under a budget of token positions.

Legend: N rows, s token streams of a row (source and target, or one), cost of a batch = rows * sum
over streams of the longest row in it: its token positions, padding included.

The rows are put in an order of similar lengths and cut once into *cells*, each worth a few full
batches. The rows of a cell are dealt over as few batches as the budget allows, all of one size (to
within a row), so there is no small rest anywhere. Cells, the number of batches and the size of each
are the same in every epoch; an epoch draws which rows of a cell meet, and the order of all batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heed.errors import UserError

BATCHES_PER_CELL = 2  # more mixes rows better, and pads more: +2 % a doubling on image captions


class Plan(NamedTuple):
    """Rows in an order of similar lengths, and where to cut it.

    Attributes:
        order: (N,) row numbers.
        cells: (cells + 1,) places in `order` where a cell begins; N at the end.
        batches: (batches + 1,) places in `order` where a batch begins; N at the end.
        oversized: Rows which alone cost more than the budget; each is a batch by itself.
    """

    order: np.ndarray
    cells: np.ndarray
    batches: np.ndarray
    oversized: int


class TokenBudgetSampler:
    """Batches for training: every row once an epoch, in an order that (seed, epoch) decides.

    What is decided are *global* batches, which do not know how many processes there are. Of each
    the process `rank` takes every `world_size`-th row, longest first, so that all processes have
    as many rows (to within one) of about the same lengths.

    The order is a pure function of (seed, epoch), so a place in the data is two numbers: `epoch`
    and `position`, the global batches of the epoch that are done. Iteration starts at `position`
    and leaves it alone: who trains on the batches moves it.

    Args:
        lengths: (N, s) tokens of each row in each stream.
        max_tokens: Most token positions of a global batch, padding included; None for no limit.
        batch_size: Most rows of a global batch; None for no limit.
        seed: Decides the order together with the epoch.
        shuffle: False keeps one order, longest batches first, for every epoch.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        UserError: If neither or a useless limit is given, or a process would get an empty batch.
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
    ) -> None:
        self.lengths = _two_dimensional(lengths)
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.position = 0
        self._plan = plan_batches(self.lengths, max_tokens, batch_size, BATCHES_PER_CELL)
        self._refuse_empty_ranks(max_tokens, batch_size)

    @property
    def oversized(self) -> int:
        """Rows which alone cost more than max_tokens, and so are batches by themselves."""
        return self._plan.oversized

    @property
    def padding_share(self) -> float:
        """Share of padding among the token positions of this epoch's global batches."""
        return padding_share(self.lengths, self._epoch_rows(), self._plan.batches)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; in the epoch where it already is, stay at its position."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.position = 0

    def state_dict(self) -> dict[str, int]:
        """The place in the data."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
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

    def __len__(self) -> int:
        """Global batches of a whole epoch, the same for every epoch and process."""
        return len(self._plan.batches) - 1

    def __iter__(self) -> Iterator[list[int]]:
        """This process's rows of each global batch from `position` on."""
        rows, batches = self._epoch_rows(), self._plan.batches
        order = np.arange(len(self))
        if self.shuffle:
            order = self._random(1).permutation(len(self))
        for number in order[self.position :]:
            batch = rows[batches[number] : batches[number + 1]]
            longest_first = np.argsort(-self.lengths[batch].sum(axis=1), kind="stable")
            yield batch[longest_first][self.rank :: self.world_size].tolist()

    def _epoch_rows(self) -> np.ndarray:
        """(N,) row numbers in the order of the plan's cells, each cell shuffled for this epoch."""
        order, cells = self._plan.order, self._plan.cells
        if not self.shuffle:
            return order
        cell = np.repeat(np.arange(len(cells) - 1), np.diff(cells))
        return order[np.argsort(cell + self._random(0).random(len(order)), kind="stable")]

    def _random(self, use: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence([self.seed, self.epoch, use]))
        )

    def _refuse_empty_ranks(self, max_tokens: int | None, batch_size: int | None) -> None:
        sizes = np.diff(self._plan.batches)
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


class EvaluationSampler:
    """Batches for evaluation: every row once, similar lengths together, longest first.

    Whole batches are dealt to the processes in turn. Every process gets the same number of them
    (a few are halved for it), unless there are fewer rows than that takes.

    Args:
        lengths: (N, s) tokens of each row in each stream.
        max_tokens: Most token positions of a batch, padding included; None for no limit.
        batch_size: Most rows of a batch; None for no limit.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        UserError: If neither or a useless limit is given.
    """

    def __init__(
        self,
        *,
        lengths: np.ndarray,
        max_tokens: int | None,
        batch_size: int | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = _two_dimensional(lengths)
        self.rank = rank
        self.world_size = world_size
        plan = plan_batches(self.lengths, max_tokens, batch_size, batches_per_cell=1)
        self.oversized = plan.oversized
        self._order = plan.order
        self._batches = _halved_until_even(plan.batches, world_size)

    @property
    def padding_share(self) -> float:
        """Share of padding among the token positions of all processes' batches."""
        return padding_share(self.lengths, self._order, self._batches)

    def __len__(self) -> int:
        """Batches of this process."""
        return len(range(self.rank, len(self._batches) - 1, self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        """The rows of each of this process's batches."""
        for number in range(self.rank, len(self._batches) - 1, self.world_size):
            yield self._order[self._batches[number] : self._batches[number + 1]].tolist()


def plan_batches(
    lengths: np.ndarray, max_tokens: int | None, batch_size: int | None, batches_per_cell: int
) -> Plan:
    """Cut rows into cells and batches under the limits.

    Args:
        lengths: (N, s) tokens of each row in each stream.
        max_tokens: Most token positions of a batch; None for no limit.
        batch_size: Most rows of a batch; None for no limit.
        batches_per_cell: Full batches that a cell is worth.

    Raises:
        UserError: If neither limit is given or one is below 1.
    """
    _check_limits(max_tokens, batch_size)
    totals = np.maximum(lengths.sum(axis=1), 1)
    budget = (
        max_tokens if max_tokens is not None else int(totals.max(initial=1)) * (batch_size or 1)
    )
    most_rows = batch_size if batch_size is not None else len(lengths)
    alone = np.flatnonzero(totals > budget)
    alone = alone[np.argsort(-totals[alone], kind="stable")]
    rest = np.flatnonzero(totals <= budget)
    cells_wanted = int(totals[rest].sum()) // (budget * batches_per_cell) + 1
    rest = rest[similar_order(lengths[rest], cells_wanted)]
    starts, sizes = _cells(lengths[rest], budget, most_rows, batches_per_cell)
    batches = [
        len(alone) + start + _even_cuts(size, n)
        for start, size, n in zip(starts, np.diff([*starts, len(rest)]), sizes, strict=True)
    ]
    singles = np.arange(len(alone))
    return Plan(
        order=np.concatenate([alone, rest]),
        cells=np.concatenate([singles, len(alone) + np.asarray(starts, int), [len(lengths)]]),
        batches=np.concatenate([singles, *batches, [len(lengths)]]).astype(np.int64),
        oversized=len(alone),
    )


def similar_order(lengths: np.ndarray, cells: int) -> np.ndarray:
    """(N,) row numbers such that neighbours have similar lengths in every stream.

    One stream is sorted, longest first. Of several, the first is sorted and divided into bands of
    equal tokens, and each band is sorted by the other streams, every second one upwards, so that
    lengths never jump. The number of bands makes the `cells` about square in spread of lengths.
    """
    first = lengths[:, 0].astype(np.int64)
    if lengths.shape[1] == 1 or len(lengths) < 2:
        return np.argsort(-first, kind="stable")
    others = lengths[:, 1:].sum(axis=1).astype(np.int64)
    elongation = (first.std() + 1e-9) / (others.std() + 1e-9)
    bands = max(1, round(np.sqrt(cells * elongation)))
    by_first = np.argsort(-first, kind="stable")
    tokens_before = np.cumsum((first + others)[by_first])
    band = np.empty(len(lengths), dtype=np.int64)
    band[by_first] = tokens_before * bands // (tokens_before[-1] + 1)
    upwards = band % 2 == 1
    return np.lexsort((-first, np.where(upwards, others, -others), band))


def padding_share(lengths: np.ndarray, rows: np.ndarray, batches: np.ndarray) -> float:
    """Share of padding among the token positions of the batches that cut `rows` at `batches`."""
    if len(batches) < 2:
        return 0.0
    widths = np.maximum.reduceat(lengths[rows], batches[:-1], axis=0).sum(axis=1)
    positions = int((widths * np.diff(batches)).sum())
    return 1.0 - int(lengths.sum()) / positions if positions else 0.0


def _cells(
    lengths: np.ndarray, budget: int, most_rows: int, batches_per_cell: int
) -> tuple[list[int], list[int]]:
    """Where each cell begins, and over how many batches its rows are dealt.

    A cell takes rows for as long as `batches_per_cell` batches hold them. A last cell that would
    not fill one batch joins the cell before it.
    """
    totals = np.maximum(lengths.sum(axis=1), 1)
    starts: list[int] = []
    start, count = 0, len(lengths)
    while start < count:
        most = min(batches_per_cell * min(most_rows, budget // int(totals[start])), count - start)
        widths = np.maximum.accumulate(lengths[start : start + most], axis=0).sum(axis=1)
        capacity = np.minimum(most_rows, budget // np.maximum(widths, 1))  # rows of one batch
        fits = np.arange(1, most + 1) <= batches_per_cell * capacity
        starts.append(start)
        start += most if fits.all() else int(np.argmin(fits))
    if len(starts) > 1 and count - starts[-1] < _capacity(lengths[starts[-1] :], budget, most_rows):
        starts.pop()
    ends = [*starts[1:], count]
    numbers = [
        -(-(end - start) // _capacity(lengths[start:end], budget, most_rows))
        for start, end in zip(starts, ends, strict=False)
    ]
    return starts, numbers


def _capacity(lengths: np.ndarray, budget: int, most_rows: int) -> int:
    """Rows of a batch that surely fits, whichever of these rows it gets."""
    return max(1, min(most_rows, budget // max(1, int(lengths.max(axis=0).sum()))))


def _even_cuts(rows: int, batches: int) -> np.ndarray:
    """Where each of `batches` batches begins when `rows` rows are dealt evenly."""
    return np.arange(batches) * rows // batches


def _halved_until_even(batches: np.ndarray, world_size: int) -> np.ndarray:
    """More cuts, so that the number of batches is a multiple of `world_size` if rows allow."""
    while (len(batches) - 1) % world_size:
        sizes = np.diff(batches)
        largest = int(sizes.argmax())
        if sizes[largest] < 2:
            break
        batches = np.insert(batches, largest + 1, batches[largest] + sizes[largest] // 2)
    return batches


def _check_limits(max_tokens: int | None, batch_size: int | None) -> None:
    if max_tokens is None and batch_size is None:
        raise UserError(
            "data.max_tokens or data.batch_size must be given, but both are null",
            "try data.max_tokens=4096",
        )
    for key, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(
                f"data.{key} must be at least 1, but is {value}",
                f"try data.{key}={4096 if key == 'max_tokens' else 32}",
            )


def _two_dimensional(lengths: np.ndarray) -> np.ndarray:
    lengths = np.asarray(lengths)
    assert lengths.ndim == 2, f"lengths must be (rows, streams), but is {lengths.shape}"
    return lengths
