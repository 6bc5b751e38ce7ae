"""How rows are cut into batches of similar lengths under a budget of token positions.

Legend: N rows, s token streams of a row (source and target, or one), cost of a batch = rows * sum
over streams of the longest row in it: its token positions, padding included.

The rows are put in an order of similar lengths and cut into *cells*, each worth a few full batches.
The rows of a cell are dealt over as few batches as the budget surely allows, whichever rows they
get, and all of one size (to within a row), so there is no small rest anywhere. Cells, the number of
batches and their sizes depend on lengths and limits alone; what may vary from epoch to epoch is
which rows of a cell meet (`epoch_order`), and the order of the batches.

Of two streams, a row is a point in a plane. Points in the order of a Hilbert curve (Hilbert 1891)
are near in the plane where they are near in the order, in all directions alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from heed.errors import UserError

LONGEST = np.uint16(65535)  # longer rows count as this long when rows are ordered


class Plan(NamedTuple):
    """Rows in an order of similar lengths, and where to cut it.

    Attributes:
        order: (N,) row numbers, the longest cells first.
        cells: (cells + 1,) places in `order` where a cell begins; N at the end.
        batches: (batches + 1,) places in `order` where a batch begins; N at the end.
        oversized: Rows which alone cost more than the budget; each is a batch by itself.
    """

    order: np.ndarray
    cells: np.ndarray
    batches: np.ndarray
    oversized: int


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
    check_limits(max_tokens, batch_size)
    totals = np.maximum(lengths.sum(axis=1), 1)
    budget = int(totals.max(initial=1)) * (batch_size or 1) if max_tokens is None else max_tokens
    most_rows = batch_size if batch_size is not None else len(lengths)
    alone = np.flatnonzero(totals > budget)
    alone = alone[np.argsort(-totals[alone], kind="stable")]
    rest = np.flatnonzero(totals <= budget)
    rest = rest[similar_order(lengths[rest])]
    starts, numbers = _cells(lengths[rest], budget, most_rows, batches_per_cell)
    rest, starts, numbers = _longest_first(rest, lengths, starts, numbers)
    batches = _even_cuts(starts, np.diff(starts, append=len(rest)), numbers)
    singles = np.arange(len(alone))
    return Plan(
        order=np.concatenate([alone, rest]),
        cells=np.concatenate([singles, len(alone) + starts, [len(lengths)]]),
        batches=np.concatenate([singles, len(alone) + batches, [len(lengths)]]),
        oversized=len(alone),
    )


def join(plans: list[Plan]) -> Plan:
    """Plans over different rows, one after another."""
    order, cells, batches, oversized = [np.empty(0, dtype=np.int64)], [], [], 0
    done = 0
    for plan in plans:
        order.append(plan.order)
        cells.append(done + plan.cells[:-1])
        batches.append(done + plan.batches[:-1])
        oversized += plan.oversized
        done += len(plan.order)
    end = np.array([done])
    return Plan(
        np.concatenate(order),
        np.concatenate([*cells, end]),
        np.concatenate([*batches, end]),
        oversized,
    )


def similar_order(lengths: np.ndarray) -> np.ndarray:
    """(N,) row numbers such that neighbours have similar lengths in every stream.

    One stream is sorted, longest first. Of more, the first and the sum of the others are followed
    along a Hilbert curve.
    """
    first = _short(lengths[:, 0])
    if lengths.shape[1] == 1 or len(lengths) < 2:
        return np.argsort(LONGEST - first, kind="stable")
    return np.argsort(_along_curve(first, _short(lengths[:, 1:].sum(axis=1))), kind="stable")


def _along_curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) how far along the curve each point (x, y) lies.

    From the largest square to the smallest, each is entered by one quadrant after the other; what
    lies in the first is mirrored in the diagonal and in the last in the other one, so that the
    curves of the quadrants meet.
    """
    bits = int(max(x.max(), y.max())).bit_length()
    side = np.uint32((1 << bits) - 1)
    x, y = x.astype(np.uint32), y.astype(np.uint32)
    along: np.ndarray = np.zeros(len(x), dtype=np.uint32)
    for bit in reversed(range(bits)):
        right, up = (x >> bit) & 1, (y >> bit) & 1
        along = (along << 2) | ((3 * right) ^ up)
        other = np.where(right > up, side, np.uint32(0))
        x, y = x ^ other, y ^ other
        x, y = np.where(up, x, y), np.where(up, y, x)
    return along


def epoch_order(plan: Plan, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(N,) the row numbers of a plan, with other rows of a cell meeting in each batch.

    Of several streams a cell is divided across a direction of its own, so that its batches are
    narrower than the cell and pad less. Of one, and among rows of equal lengths, chance decides.

    Args:
        plan: The plan.
        lengths: (N, s) as it was made with.
        random: Decides.
    """
    cell = np.repeat(np.arange(len(plan.cells) - 1), np.diff(plan.cells))
    place = random.random(len(plan.order))
    if lengths.shape[1] > 1:
        place *= 1e-3  # of a token
        directions = random.normal(size=(lengths.shape[1], len(plan.cells) - 1))
        directions /= np.abs(directions).sum(axis=0, keepdims=True)
        for stream, direction in enumerate(directions):
            place += direction[cell] * lengths[plan.order, stream]
        place /= 2.0 * (1 + lengths.max(initial=0))  # in [-1/2, 1/2]
    return plan.order[np.argsort(cell + place, kind="stable")]


def _short(lengths: np.ndarray) -> np.ndarray:
    """Lengths as 16-bit numbers, which NumPy sorts in linear time."""
    return np.minimum(lengths, LONGEST).astype(np.uint16)


def padding_share(lengths: np.ndarray, rows: np.ndarray, batches: np.ndarray) -> float:
    """Share of padding among the token positions of the batches that cut `rows` at `batches`."""
    if len(batches) < 2:
        return 0.0
    widths = np.maximum.reduceat(lengths[rows], batches[:-1], axis=0).sum(axis=1)
    positions = int((widths * np.diff(batches)).sum())
    return 1.0 - int(lengths.sum()) / positions if positions else 0.0


def _cells(
    lengths: np.ndarray, budget: int, most_rows: int, batches_per_cell: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where each cell begins, and over how many batches its rows are dealt.

    A cell takes rows for as long as `batches_per_cell` batches hold them. A last cell that would
    not fill one batch joins the cell before it.
    """
    totals = np.maximum(lengths.sum(axis=1), 1)
    cuts: list[int] = []
    start, count = 0, len(lengths)
    while start < count:
        most = min(batches_per_cell * min(most_rows, budget // int(totals[start])), count - start)
        widths = np.maximum.accumulate(lengths[start : start + most], axis=0).sum(axis=1)
        fits = np.arange(1, most + 1) <= batches_per_cell * _capacity(widths, budget, most_rows)
        cuts.append(start)
        start += most if fits.all() else int(np.argmin(fits))
    starts = np.array(cuts, dtype=np.int64)
    if not cuts:
        return starts, starts
    widths = np.maximum.reduceat(lengths, starts, axis=0).sum(axis=1)
    if len(cuts) > 1 and count - cuts[-1] < _capacity(widths[-1:], budget, most_rows)[0]:
        starts = starts[:-1]
        widths = np.maximum.reduceat(lengths, starts, axis=0).sum(axis=1)
    sizes = np.diff(starts, append=count)
    return starts, -(-sizes // _capacity(widths, budget, most_rows))


def _longest_first(
    rows: np.ndarray, lengths: np.ndarray, starts: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows, where each cell begins and its batches, with the cells in another order."""
    if not len(starts):
        return rows, starts, numbers
    sizes = np.diff(starts, append=len(rows))
    widths = np.maximum.reduceat(lengths[rows], starts, axis=0).sum(axis=1)
    cells = np.argsort(-widths, kind="stable")
    sizes, old = sizes[cells], starts[cells]
    new = np.cumsum(sizes) - sizes
    places = np.repeat(old - new, sizes) + np.arange(len(rows))
    return rows[places], new, numbers[cells]


def _capacity(widths: np.ndarray, budget: int, most_rows: int) -> np.ndarray:
    """Rows of a batch that fit when the longest of them cost `widths`; at least one."""
    return np.maximum(1, np.minimum(most_rows, budget // np.maximum(widths, 1)))


def _even_cuts(starts: np.ndarray, sizes: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Where each batch begins when each cell's rows are dealt evenly over its batches."""
    number = np.arange(batches.sum()) - np.repeat(np.cumsum(batches) - batches, batches)
    return np.repeat(starts, batches) + number * np.repeat(sizes, batches) // np.repeat(
        batches, batches
    )


def check_limits(max_tokens: int | None, batch_size: int | None) -> None:
    """Refuse limits that limit nothing, or allow nothing.

    Raises:
        UserError: If neither limit is given or one is below 1.
    """
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
