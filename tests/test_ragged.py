"""Ragged rows against the same rows as lists."""

from __future__ import annotations

import numpy as np
import pytest

from heed.ragged import Ragged, joined

ROWS = [[3, 1], [], [7, 7, 5, 2, 9], [4], [], [6, 8, 0]]


@pytest.fixture
def ragged() -> Ragged:
    return Ragged.of(ROWS)


def test_rows_are_what_they_were_made_of(ragged: Ragged) -> None:
    assert ragged.tolist() == ROWS
    assert [row.tolist() for row in ragged] == ROWS
    assert [ragged[i].tolist() for i in range(-6, 6)] == [*ROWS, *ROWS]
    assert ragged[1:4].tolist() == ROWS[1:4]
    assert ragged.lengths.tolist() == [len(row) for row in ROWS]
    assert Ragged.of([np.array(row) for row in ROWS]).tolist() == ROWS
    assert Ragged.of([]).tolist() == []
    with pytest.raises(IndexError):
        ragged[6]


def test_rows_by_number(ragged: Ragged) -> None:
    numbers = [5, 0, 2, 2, 1]
    assert ragged.take(numbers).tolist() == [ROWS[i] for i in numbers]
    assert ragged.take([]).tolist() == []


@pytest.mark.parametrize("most", [0, 1, 2, 3, 9])
def test_first_of_each_row(ragged: Ragged, most: int) -> None:
    assert ragged.first(most).tolist() == [row[:most] for row in ROWS]


@pytest.mark.parametrize(("before", "after"), [([], []), ([1], [2]), ([1, 2], []), ([], [3, 4])])
def test_the_same_before_and_after_each(
    ragged: Ragged, before: list[int], after: list[int]
) -> None:
    expected = [[*before, *row, *after] for row in ROWS]
    assert ragged.within(before, after).tolist() == expected
    part = Ragged(ragged.values, ragged.offsets[2:])  # whose first row is not at the start
    assert part.within(before, after).tolist() == expected[2:]


def test_several_in_one_row(ragged: Ragged) -> None:
    other = Ragged.of([[10 * i] * i for i in range(6)])
    assert joined([ragged, other, ragged]).tolist() == [
        [*row, *[10 * i] * i, *row] for i, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize("most", [1, 2, 9])
def test_last_of_each_row(ragged: Ragged, most: int) -> None:
    assert ragged.last(most).tolist() == [row[-most:] for row in ROWS]


def test_only_some_rows_stay(ragged: Ragged) -> None:
    kept = np.array([True, True, False, False, True, True])
    assert ragged.only(kept).tolist() == [
        row if keep else [] for row, keep in zip(ROWS, kept, strict=True)
    ]


@pytest.mark.parametrize(("most", "shared"), [(1, 0), (2, 0), (4, 0), (9, 0), (2, 1), (3, 1)])
def test_long_rows_are_cut_into_parts(ragged: Ragged, most: int, shared: int) -> None:
    parts, number = ragged.cut(most, shared)

    expected = [
        (i, row[first : first + most])
        for i, row in enumerate(ROWS)
        for first in range(0, max(1, len(row) - shared), most - shared)
    ]
    assert list(zip(number.tolist(), parts.tolist(), strict=True)) == expected
