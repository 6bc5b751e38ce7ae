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
