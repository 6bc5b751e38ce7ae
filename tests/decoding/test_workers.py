"""Processes that share work: in order, with what goes wrong told, and none left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from heed.decoding.workers import LOOKAHEAD, Workers, can_fork
from heed.errors import RunFailed, UserError

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")


def gone(processes) -> bool:
    return not any(process.is_alive() for process in processes)


def test_results_come_in_the_order_of_the_items():
    weight = torch.randn(7, 7)

    def compute(number: int) -> tuple[int, torch.Tensor, int, int]:
        time.sleep(0.02 * (number % 3))  # later items are ready before earlier ones
        return number, weight @ weight * number, os.getpid(), torch.get_num_threads()

    with Workers(compute, 3) as workers:
        results = list(workers.map(range(17)))
        again = [result[0] for result in workers.map([4, 5])]
    assert [number for number, *_ in results] == list(range(17))
    assert again == [4, 5]
    for number, product, _, threads in results:
        torch.testing.assert_close(product, weight @ weight * number)
        assert threads == 1
    pids = {pid for _, _, pid, _ in results}
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert gone(workers.processes)


def test_items_are_read_as_they_are_needed():
    read = []

    def items():
        for number in range(100):
            read.append(number)
            yield number

    with Workers(lambda number: number, 2) as workers:
        results = workers.map(items())
        for expected in range(10):
            assert next(results) == expected
            assert len(read) <= expected + 1 + 2 * 2 * LOOKAHEAD
    assert gone(workers.processes)


def test_an_error_is_raised_here_with_where_it_happened():
    def compute(number: int) -> int:
        if number == 3:
            raise UserError(f"item must be small, but is {number}", "try 2")
        return number

    found = []
    with (
        pytest.raises(UserError, match="item must be small, but is 3; try 2") as raised,
        Workers(compute, 2) as workers,
    ):
        found.extend(workers.map(range(9)))
    assert found == [0, 1, 2]
    assert "in compute" in getattr(raised.value, "__notes__", ["in compute"])[0]  # Python 3.10
    assert gone(workers.processes)


def test_a_process_that_is_killed_is_told():
    def compute(number: int) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(RunFailed, match="ended by signal 9"), Workers(compute, 2) as workers:
        list(workers.map(range(9)))
    assert gone(workers.processes)


def interrupt(number: int) -> None:
    """What a terminal does, to all processes; that of the test comes last."""
    os.kill(os.getpid(), signal.SIGINT)
    if number == 1:
        time.sleep(0.2)
        os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)


def test_an_interrupt_ends_all():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    workers = Workers(interrupt, 2)
    try:
        with pytest.raises(KeyboardInterrupt), workers:
            list(workers.map(range(2)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert gone(workers.processes)


def test_workers_end_with_the_process_that_made_them():
    receive, send = os.pipe()
    parent = os.fork()
    if parent == 0:
        workers = Workers(lambda number: number, 2)
        os.write(send, " ".join(str(p.pid) for p in workers.processes).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    pids = [int(word) for word in os.read(receive, 100).split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(running(pid) for pid in pids):
        time.sleep(0.05)
    assert not any(running(pid) for pid in pids)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
