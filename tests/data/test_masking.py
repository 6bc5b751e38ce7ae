"""What is hidden of a row: by which numbers, how much of it, and what stands there instead."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from heed.data.masking import Masking, columns_of, uniform
from heed.data.sampler import EpochRows, TokenBudgetSampler

MASK, ORDINARY = 3, np.arange(7, 101)
MASKING = Masking(share=0.15, masked=0.8, random=0.1, mask_id=MASK, ordinary=ORDINARY)


def rows(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary tokens between two that may not be hidden."""
    ids = np.random.default_rng(1).choice(ORDINARY, (count, width))
    maskable = np.ones((count, width), dtype=bool)
    maskable[:, [0, -1]] = False
    return ids, maskable


def test_numbers_are_spread_evenly_and_rows_do_not_resemble_each_other() -> None:
    drawn = uniform((5, 1), np.arange(997), 211)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    share = np.histogram(drawn, bins=10, range=(0, 1))[0] / drawn.size
    assert share == pytest.approx(np.full(10, 0.1), abs=0.004)  # about 6 standard errors
    for one, other in ((drawn[:-1], drawn[1:]), (drawn[:, :-1], drawn[:, 1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.015


def test_a_row_is_decided_by_its_number_and_the_key_alone() -> None:
    ids, maskable = rows(11, 23)
    numbers = np.arange(11) * 5
    whole = MASKING(ids, maskable, (5, 1), numbers)
    alone = MASKING(
        np.pad(ids[3:4], ((0, 0), (0, 6))),
        np.pad(maskable[3:4], ((0, 0), (0, 6))),
        (5, 1),
        numbers[3:4],
    )
    assert (alone.ids[0, :23] == whole.ids[3]).all()
    assert (alone.labels[0] == whole.labels[3]).all()
    for other in (MASKING(ids, maskable, (5, 2), numbers), MASKING(ids, maskable, (6, 1), numbers)):
        assert (other.places != whole.places).any()


def test_of_a_row_fifteen_percent_are_hidden_and_at_least_one() -> None:
    for width, expected in ((3, 1), (8, 1), (22, 3), (102, 15)):
        ids, maskable = rows(13, width)
        found = MASKING(ids, maskable, (5, 1), np.arange(13))
        assert found.counts.tolist() == [expected] * 13
        assert maskable[np.arange(13)[:, None], found.places].all()
        assert (np.take_along_axis(ids, found.places, 1) == found.labels).all()
        untouched = np.ones_like(maskable)
        np.put_along_axis(untouched, found.places, False, 1)
        assert (found.ids == ids)[untouched].all()


def test_eight_of_ten_become_a_mask_and_one_another_token() -> None:
    ids, maskable = rows(997, 202)
    found = MASKING(ids, maskable, (5, 1), np.arange(997))
    seen = np.take_along_axis(found.ids, found.places, 1)
    assert seen.size == 997 * 30
    assert (seen == MASK).mean() == pytest.approx(0.8, abs=0.01)
    # A token that is drawn may be the one that was there, once in 94 times.
    assert (seen == found.labels).mean() == pytest.approx(0.1 + 0.1 / 94, abs=0.01)
    assert np.isin(seen[seen != MASK], ORDINARY).all()


def test_a_row_without_a_token_hides_nothing() -> None:
    ids, maskable = rows(2, 5)
    maskable[1] = False
    found = MASKING(ids, maskable, (5, 1), np.arange(2))
    assert found.counts.tolist() == [1, 0]
    assert (found.ids[1] == ids[1]).all()


def test_columns_stand_from_the_left() -> None:
    chosen = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    places, counts = columns_of(chosen)
    assert places.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert counts.tolist() == [2, 0, 1]


def test_a_batch_knows_its_epoch_in_another_process_too() -> None:
    lengths = np.full((12, 1), 5)
    sampler = TokenBudgetSampler(lengths=lengths, max_tokens=20, batch_size=None, seed=3)
    sampler.set_epoch(4)
    batch = next(iter(sampler))
    assert isinstance(batch, EpochRows)
    assert batch.epoch == 4
    other = pickle.loads(pickle.dumps(batch))
    assert (other, other.epoch) == (batch, 4)
    # Batches that are meant to come again come with what was drawn for them.
    again = TokenBudgetSampler(
        lengths=lengths, max_tokens=20, batch_size=None, seed=3, shuffle=False
    )
    again.set_epoch(4)
    batch = next(iter(again))
    assert isinstance(batch, EpochRows)
    assert batch.epoch == 0
