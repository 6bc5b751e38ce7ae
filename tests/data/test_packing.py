"""How rows are dealt to packed batches."""

from __future__ import annotations

import numpy as np
import pytest

from heed.data.packing import PackedPlan, share_out
from heed.data.sampler import TokenBudgetSampler


@pytest.fixture(scope="module")
def lengths() -> np.ndarray:
    random = np.random.default_rng(0)
    source = np.clip(random.lognormal(2.6, 0.4, 20_000).astype(int), 4, 60)
    return np.stack([source, np.clip(source + random.integers(-4, 5, 20_000), 3, 70)], axis=1)


def test_batches_are_even(lengths):
    """Nothing is padded but what the last token leaves of a fixed width: less than 0.5 %."""
    plan = PackedPlan(lengths, max_tokens=25_600, batch_size=None)
    assert plan.padding_share < 0.005
    assert sum(plan.shape.widths) <= 25_600
    for epoch in range(3):
        deal = plan.deal(np.random.default_rng(epoch))
        assert sorted(deal.order) == list(range(len(lengths)))
        assert (plan.loads(deal) <= plan.shape.widths).all()
        assert np.diff(deal.batches).max() <= plan.shape.rows
        assert len(deal.batches) == plan.count + 1


def test_rows_of_all_lengths_meet(lengths):
    deal = PackedPlan(lengths, max_tokens=4096, batch_size=None).deal(np.random.default_rng(0))
    first = lengths[deal.order[deal.batches[0] : deal.batches[1]], 0]
    assert first.min() < 10
    assert first.max() > 25


def test_other_epochs_are_other_batches(lengths):
    samplers = [_sampler(lengths) for _ in range(2)]
    first = list(samplers[0])
    assert first == list(samplers[1])
    samplers[0].set_epoch(1)
    second = list(samplers[0])
    assert len(first) == len(second) == len(samplers[0])
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))


def test_a_place_is_gone_on_from(lengths):
    whole, rest = _sampler(lengths), _sampler(lengths)
    rest.load_state_dict({"epoch": 0, "position": 3})
    assert list(whole)[3:] == list(rest)


def test_processes_share_batches_evenly(lengths):
    alone = _sampler(lengths)
    shares = [list(_sampler(lengths, rank=rank, world_size=2)) for rank in range(2)]
    both = [sorted(a + b) for a, b in zip(*shares, strict=True)]
    assert sum(map(len, both)) == sum(map(len, alone)) == len(lengths)
    plan = PackedPlan(lengths, max_tokens=25_600, batch_size=None, world_size=2)
    assert plan.padding_share < 0.015
    loads = plan.loads(plan.deal(np.random.default_rng(0))).sum(-1)  # of both streams
    assert abs(loads[:, 0] - loads[:, 1]).max() <= lengths.sum(1).max()


def test_a_row_longer_than_the_budget_fits():
    plan = PackedPlan(np.array([[50], [3], [4], [5]]), max_tokens=16, batch_size=None)
    assert plan.oversized == 1
    assert plan.shape.widths[0] >= 50
    assert (plan.loads(plan.deal(np.random.default_rng(0))) <= plan.shape.widths).all()


def test_batch_size_limits_rows(lengths):
    plan = PackedPlan(lengths, max_tokens=None, batch_size=64)
    assert plan.shape.rows == 64


def test_rows_are_dealt_to_and_fro():
    assert share_out(np.arange(7), 3).tolist() == [0, 1, 2, 2, 1, 0, 0]


def _sampler(lengths: np.ndarray, **settings: int) -> TokenBudgetSampler:
    return TokenBudgetSampler(
        lengths=lengths, max_tokens=25_600, batch_size=None, seed=1, packed=True, **settings
    )
