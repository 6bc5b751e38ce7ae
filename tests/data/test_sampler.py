"""Batches under a budget: every row once, within limits, alike on any number of processes."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest

from heed.data.batching import plan_batches, similar_order
from heed.data.sampler import EvaluationSampler, TokenBudgetSampler
from heed.errors import UserError

MULTI30K = Path(__file__).parents[3] / "shared" / "data" / "multi30k" / "train.jsonl.gz"


def random_lengths(case: int) -> np.ndarray:
    """Lengths of many shapes: few and many rows, one and two streams, narrow and long-tailed."""
    rng = np.random.default_rng(case)
    rows = int(rng.choice([1, 2, 7, 53, 997]))
    streams = 1 + case % 3
    first = np.maximum(1, rng.lognormal(rng.uniform(0.5, 4), rng.uniform(0, 1), rows))
    columns = [first * rng.uniform(0.5, 1.5, rows) + rng.integers(0, 5) for _ in range(streams)]
    return np.stack(columns, axis=1).astype(np.int32).clip(0 if case % 5 == 0 else 1)


def cost(lengths: np.ndarray, batch: list[int]) -> int:
    return len(batch) * int(lengths[batch].max(axis=0).sum())


def sampler(lengths: np.ndarray, **changes: object) -> TokenBudgetSampler:
    values: dict = {"max_tokens": 512, "batch_size": None, "seed": 3, "shuffle": True}
    return TokenBudgetSampler(lengths=lengths, **{**values, **changes})


LENGTHS = np.random.default_rng(0).integers(3, 60, (1009, 2)).astype(np.int32)


@pytest.mark.parametrize("case", range(60))
def test_every_row_comes_once_and_within_both_limits(case: int) -> None:
    lengths = random_lengths(case)
    rng = np.random.default_rng(1000 + case)
    max_tokens = int(rng.choice([1, 30, 200, 3000])) if case % 4 else None
    batch_size = int(rng.choice([1, 5, 64])) if case % 4 == 0 or case % 3 == 0 else None
    made = sampler(lengths, max_tokens=max_tokens, batch_size=batch_size)

    counts = []
    for epoch in (0, 1, 5):
        made.set_epoch(epoch)
        batches = list(made)
        assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
        counts.append(len(batches))
        for batch in batches:
            assert batch_size is None or len(batch) <= batch_size
            over = max_tokens is not None and cost(lengths, batch) > max(1, max_tokens)
            assert not over or len(batch) == 1 or not lengths[batch].any()
        positions = sum(cost(lengths, batch) for batch in batches)
        if positions:
            assert made.padding_share == pytest.approx(1 - lengths.sum() / positions)
    assert counts == [len(made)] * 3  # the same number in every epoch: steps can be planned


@pytest.mark.parametrize("case", range(24))
@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_processes_share_the_batches_of_one_process(case: int, world_size: int) -> None:
    lengths = np.concatenate([random_lengths(case)] * world_size)  # a row for each at least
    budget = int(lengths.sum(axis=1).max()) * 2 * world_size
    whole = sampler(lengths, max_tokens=budget)
    ranks = [
        sampler(lengths, max_tokens=budget, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in (0, 4):
        for one in (whole, *ranks):
            one.set_epoch(epoch)
        for batch, *shares in zip(whole, *ranks, strict=True):
            assert sorted(itertools.chain(*shares)) == sorted(batch)
            sizes = [len(share) for share in shares]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            longest = [lengths[share].sum(axis=1).max() for share in shares]
            ordered = np.sort(lengths[batch].sum(axis=1))[::-1]
            assert min(longest) >= ordered[world_size - 1]  # each begins with one of the longest


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first, again, other = sampler(LENGTHS), sampler(LENGTHS), sampler(LENGTHS, seed=4)
    assert list(first) == list(first) == list(again)
    assert list(other) != list(first)

    before = list(first)
    first.set_epoch(1)
    assert list(first) != before
    assert [sorted(b) for b in first] != [sorted(b) for b in before]  # rows meet others
    first.set_epoch(0)
    assert list(first) == before


@pytest.mark.parametrize(
    ("max_tokens", "again"),
    [(512, 0.3), (2048, 0.1)],  # of 7 rows that are near each other, often the same meet
)
def test_rows_of_a_batch_change_from_epoch_to_epoch(max_tokens: int, again: float) -> None:
    made = sampler(LENGTHS, max_tokens=max_tokens)
    before = {frozenset(batch) for batch in made}
    made.set_epoch(1)

    kept = before & {frozenset(batch) for batch in made}
    assert len(kept) < again * len(before)


@pytest.mark.parametrize("streams", [1, 2])
def test_rows_of_equal_lengths_meet_at_random(streams: int) -> None:
    made = sampler(np.full((400, streams), 10), max_tokens=1000)
    met: dict[int, set[int]] = {row: set() for row in range(400)}
    for epoch in range(12):
        made.set_epoch(epoch)
        for batch in made:
            for row in batch:
                met[row] |= set(batch)
    cell = 2 * 1000 // (10 * streams)  # the rows of two batches
    assert all(cell * 0.9 < len(rows) <= cell for rows in met.values())


@pytest.mark.parametrize("rank", [0, 1])
def test_resuming_is_a_seek(rank: int) -> None:
    whole = sampler(LENGTHS, rank=rank, world_size=2)
    whole.set_epoch(3)
    batches = list(whole)

    resumed = sampler(LENGTHS, rank=rank, world_size=2)
    resumed.load_state_dict({"epoch": 3, "position": 17})
    resumed.set_epoch(3)  # what Lightning says before it goes on
    assert list(resumed) == batches[17:]
    assert len(resumed) == len(batches)
    assert resumed.state_dict() == {"epoch": 3, "position": 17}
    resumed.set_epoch(4)
    assert resumed.position == 0
    assert len(list(resumed)) == len(batches)


def test_a_place_may_be_taken_up_by_another_number_of_processes() -> None:
    state = {"epoch": 2, "position": 11}
    alone = sampler(LENGTHS)
    alone.load_state_dict(state)
    shares = [sampler(LENGTHS, rank=rank, world_size=3) for rank in range(3)]
    for share in shares:
        share.load_state_dict(state)

    for batch, *parts in zip(alone, *shares, strict=True):
        assert sorted(itertools.chain(*parts)) == sorted(batch)


def test_a_place_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(UserError, match=r"must be within the epoch's \d+ batches, but is batch 99"):
        sampler(LENGTHS).load_state_dict({"epoch": 0, "position": 9999})


def test_without_shuffling_every_epoch_is_the_same() -> None:
    made = sampler(LENGTHS, shuffle=False)
    before = list(made)
    made.set_epoch(7)

    assert list(made) == before
    assert sorted(itertools.chain(*before)) == list(range(len(LENGTHS)))


def test_a_row_above_the_budget_is_a_batch_by_itself_and_counted() -> None:
    lengths = np.array([[10], [700], [12], [9], [900], [11]])
    made = sampler(lengths)

    assert made.oversized == 2
    assert sorted(len(batch) for batch in made) == [1, 1, 4]


def test_batches_are_full() -> None:
    lengths = np.full((1000, 1), 10)
    made = sampler(lengths, max_tokens=100)

    assert [len(batch) for batch in made] == [10] * 100
    assert made.padding_share == 0.0


def test_a_rest_is_dealt_out_so_that_no_batch_is_small() -> None:
    for rows in range(10, 60):
        sizes = [len(batch) for batch in sampler(np.full((rows, 1), 10), max_tokens=100)]
        assert len(sizes) == -(-rows // 10)  # as few as can be
        assert max(sizes) <= 10
        assert min(sizes) >= 5


def test_no_rows_make_no_batches() -> None:
    empty = np.empty((0, 2), dtype=np.int32)

    assert list(sampler(empty)) == []
    assert len(EvaluationSampler(lengths=empty, max_tokens=9, batch_size=None)) == 0


def test_both_streams_are_kept_alike() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.integers(5, 50, (20000, 2))  # nothing in common between the streams
    made = sampler(lengths, max_tokens=4096)

    by_sum = np.argsort(lengths.sum(axis=1))
    naive = [by_sum[i : i + 60] for i in range(0, 20000, 60)]
    naive_share = 1 - lengths.sum() / sum(cost(lengths, b.tolist()) for b in naive)
    assert made.padding_share < naive_share / 4
    assert made.padding_share < 0.06


def test_similar_order_is_an_order() -> None:
    for case in range(20):
        lengths = random_lengths(case)
        assert sorted(similar_order(lengths)) == list(range(len(lengths)))


def test_similar_order_takes_one_step_at_a_time() -> None:
    """Of points that fill a square, each is a neighbour of the one before (Hilbert 1891)."""
    for side in (2, 4, 64):
        lengths = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
        steps = np.abs(np.diff(lengths[similar_order(lengths)], axis=0)).sum(axis=1)
        assert (steps == 1).all()


def test_training_begins_with_the_longest_where_nothing_is_shuffled() -> None:
    made = sampler(LENGTHS, shuffle=False)
    costs = [LENGTHS[batch].max(axis=0).sum() for batch in made]
    assert costs[0] == max(costs)
    assert np.corrcoef(costs, np.arange(len(costs)))[0, 1] < -0.95


def test_lengths_beyond_sixteen_bits_keep_the_budget() -> None:
    lengths = np.array([[100_000], [70_000], [66_000], [5], [200_000]])
    made = sampler(lengths, max_tokens=200_000)

    batches = list(made)
    assert sorted(itertools.chain(*batches)) == [0, 1, 2, 3, 4]
    assert all(cost(lengths, batch) <= 200_000 for batch in batches)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_tokens": None}, "data.max_tokens or data.batch_size must be given"),
        ({"max_tokens": 0}, "data.max_tokens must be at least 1, but is 0"),
        ({"batch_size": -3}, "data.batch_size must be at least 1, but is -3"),
    ],
)
def test_useless_limits_are_refused(limits: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        sampler(LENGTHS, **limits)
    with pytest.raises(UserError, match=words):
        EvaluationSampler(lengths=LENGTHS, **{"max_tokens": 512, "batch_size": None, **limits})


def test_a_process_without_rows_is_refused_with_the_key_to_change() -> None:
    with pytest.raises(
        UserError, match=r"data.max_tokens .* each of the 8 processes .* is 512"
    ) as e:
        sampler(LENGTHS, world_size=8)
    remedy = int(e.value.remedy.rpartition("=")[2])
    assert len(sampler(LENGTHS, world_size=8, max_tokens=remedy)) > 0

    with pytest.raises(
        UserError, match=r"data.batch_size .* each of the 8 processes a row, but is 5"
    ):
        sampler(LENGTHS, world_size=8, max_tokens=None, batch_size=5)
    with pytest.raises(UserError, match="at least one row for each of the 8 processes, but has 3"):
        sampler(LENGTHS[:3], world_size=8)


@pytest.mark.parametrize("case", range(40))
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_evaluation_deals_every_row_once_and_evenly(case: int, world_size: int) -> None:
    lengths = random_lengths(case)
    dealt = [
        EvaluationSampler(
            lengths=lengths, max_tokens=300, batch_size=None, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    batches = [list(one) for one in dealt]

    assert sorted(itertools.chain(*itertools.chain(*batches))) == list(range(len(lengths)))
    counts = [len(one) for one in batches]
    assert counts == [len(one) for one in dealt]
    if len(lengths) >= 2 * world_size:
        assert len(set(counts)) == 1  # nobody waits for a batch that others do not have
    for batch in itertools.chain(*batches):
        assert batch
        assert len(batch) == 1 or cost(lengths, batch) <= 300 or not lengths[batch].any()
    positions = sum(cost(lengths, batch) for batch in itertools.chain(*batches))
    if positions:
        assert dealt[0].padding_share == pytest.approx(1 - lengths.sum() / positions)


@pytest.mark.parametrize("case", range(20))
@pytest.mark.parametrize("batch_size", [None, 6])
def test_rows_of_one_example_are_evaluated_together(case: int, batch_size: int | None) -> None:
    rng = np.random.default_rng(case)
    windows = rng.choice([1, 1, 1, 1, 2, 3, 9], 211)
    examples = np.repeat(np.arange(211) + 40, windows)
    lengths = rng.integers(2, 40, (len(examples), 1))
    made = [
        EvaluationSampler(
            lengths=lengths,
            max_tokens=200,
            batch_size=batch_size,
            examples=examples,
            rank=rank,
            world_size=3,
        )
        for rank in range(3)
    ]
    batches = [batch for one in made for batch in one]

    assert sorted(itertools.chain(*batches)) == list(range(len(examples)))
    assert len({len(one) for one in made}) == 1
    seen: set[int] = set()
    for batch in batches:
        held = examples[batch]
        assert not seen & set(held.tolist())
        seen |= set(held.tolist())
        for example in set(held.tolist()):
            rows = [row for row in batch if examples[row] == example]
            assert rows == np.flatnonzero(examples == example).tolist()
        alone = len(set(held.tolist())) == 1
        assert alone or cost(lengths, batch) <= 200
        assert alone or batch_size is None or len(batch) <= batch_size


def test_evaluation_begins_with_the_longest() -> None:
    made = EvaluationSampler(lengths=LENGTHS[:, :1], max_tokens=512, batch_size=None)
    longest = [LENGTHS[batch, 0].max() for batch in made]

    assert longest == sorted(longest, reverse=True)


def test_a_plan_of_a_million_rows_takes_seconds() -> None:
    lengths = np.random.default_rng(1).integers(3, 99, (1_000_000, 2)).astype(np.int32)
    begun = time.process_time()
    plan = plan_batches(lengths, 8192, None, 2)

    assert len(plan.order) == 1_000_000
    assert time.process_time() - begun < 10


@pytest.mark.skipif(not MULTI30K.exists(), reason="needs the Multi30k files")
def test_real_pairs_pad_little() -> None:
    rows = [json.loads(line) for line in gzip.decompress(MULTI30K.read_bytes()).splitlines()]
    lengths = np.array([[len(row["en"].split()) + 1, len(row["de"].split()) + 2] for row in rows])
    made = sampler(lengths, max_tokens=4096)

    assert made.padding_share < 0.03
    assert len(made) * 4096 * 0.9 < lengths.sum() / (1 - made.padding_share)  # batches are full
