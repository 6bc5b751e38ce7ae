"""Batches made ahead by a thread are those that would have been made without it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from heed.data.batch import TextBatch, Tokens
from heed.data.loading import TrainingLoader
from heed.data.prefetch import Prefetched, _tensors

CPU = torch.device("cpu")


def batch(number: int) -> TextBatch:
    tokens = Tokens.padded([[number] * 3, [number]], pad_id=0)
    return TextBatch(tokens, labels=torch.tensor([number, 7]), records=None, indices=[number, 1])


def numbers(batches: Iterator[TextBatch]) -> list[int]:
    return [int(one.tokens.ids[0, 0]) for one in batches]


def test_all_batches_come_in_order() -> None:
    assert numbers(Prefetched(map(batch, range(1, 24)), CPU)) == list(range(1, 24))
    assert numbers(Prefetched(iter(()), CPU)) == []


def test_it_stays_ahead_by_so_many() -> None:
    made = []

    def making() -> Iterator[TextBatch]:
        for number in range(1, 30):
            made.append(number)
            yield batch(number)

    batches = Prefetched(making(), CPU, ahead=3)
    next(batches)
    until = time.monotonic() + 30
    while len(made) < 5 and time.monotonic() < until:  # taken, three ready, one that has no place
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(made) == 5


def test_an_error_comes_where_its_batch_would() -> None:
    def failing() -> Iterator[TextBatch]:
        yield batch(5)
        raise ValueError("broken row")

    batches = Prefetched(failing(), CPU)
    assert numbers(iter([next(batches)])) == [5]
    with pytest.raises(ValueError, match="broken row"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_its_thread_ends_when_nobody_takes_batches_any_more() -> None:
    before = set(threading.enumerate())
    batches = Prefetched(map(batch, range(1, 1000)), CPU)
    next(batches)
    (thread,) = set(threading.enumerate()) - before
    del batches
    gc.collect()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_every_tensor_of_a_batch_is_known() -> None:
    one = batch(3)
    found = {id(tensor) for tensor in _tensors(one)}
    assert found == {id(one.tokens.ids), id(one.tokens.layout.lengths), id(one.labels)}


class Clock:
    """Seconds that pass when told so."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(torch.utils.data.Dataset):
    """Batches that take two seconds of a clock each."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __getitem__(self, number: int) -> TextBatch:
        self.clock.now += 2.0
        return batch(number)


def loader(device: torch.device | None, clock: Clock) -> TrainingLoader:
    return TrainingLoader(
        Slow(clock), sampler=range(1, 9), batch_size=None, collate_fn=_same, prefetch_to=device
    )


def test_a_loader_counts_its_users_waiting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("heed.data.loading.time", clock)
    plain = loader(None, clock)
    for _ in plain:
        clock.now += 100.0  # a step
    assert plain.waited_seconds == 8 * 2.0


def test_a_loader_gives_the_same_with_a_thread_and_without() -> None:
    for device in (None, CPU):
        assert numbers(iter(loader(device, Clock()))) == list(range(1, 9))


def _same(one: TextBatch) -> TextBatch:
    return one
