"""Seeking into an epoch costs no replay: nothing before the place is fetched."""

from __future__ import annotations

import numpy as np
import pytest

from heed.data.loading import TrainingLoader
from heed.data.sampler import TokenBudgetSampler

ROWS = 1009


class Fetched:
    """Rows that remember which of them were asked for."""

    def __init__(self):
        self.numbers: list[int] = []

    def __len__(self):
        return ROWS

    def __getitem__(self, numbers):
        self.numbers += numbers
        return list(numbers)


def sampler(**changes):
    lengths = np.random.default_rng(3).integers(3, 41, size=(ROWS, 2))
    values = {"max_tokens": 700, "batch_size": None, "seed": 5, **changes}
    return TokenBudgetSampler(lengths=lengths, **values)


def batches(place, **changes):
    """All batches from a place on, and every row that was fetched for them."""
    order, rows = sampler(**changes), Fetched()
    order.load_state_dict(place)
    return list(TrainingLoader(rows, batch_size=None, sampler=order)), rows.numbers


@pytest.mark.parametrize("epoch", [0, 3])
def test_no_row_before_the_place_is_fetched(epoch):
    whole, _ = batches({"epoch": epoch, "position": 0})
    assert len(whole) > 50
    for position in (1, 17, len(whole) - 1):
        rest, fetched = batches({"epoch": epoch, "position": position})
        assert rest == whole[position:]
        assert fetched == [row for batch in rest for row in batch]
        done = {row for batch in whole[:position] for row in batch}
        assert not done & set(fetched)


def test_nothing_of_an_earlier_epoch_is_made():
    """The order of an epoch is no continuation of the one before."""
    straight, _ = batches({"epoch": 7, "position": 11})
    stepped = sampler()
    for epoch in range(8):
        stepped.set_epoch(epoch)
        for _ in stepped:
            pass
    stepped.position = 11
    assert list(stepped) == straight


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_global_batches_do_not_depend_on_the_number_of_processes(world_size):
    place = {"epoch": 2, "position": 23}
    alone, _ = batches(place)
    shares = [batches(place, rank=r, world_size=world_size)[0] for r in range(world_size)]
    together = [sorted(sum(parts, [])) for parts in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in alone]
