"""Training loops that take turns on one machine, so that what else it does falls on all of them.

A loop is a function that reads batches until there are no more. Each runs in a thread of its own
and gets a batch only when it is its turn; that it asks for the next tells that a step is done.
So Lightning's loop, the Trainer of transformers and a plain `for` are timed alike, from within one
process, a few steps each and then the next. A loop that reads a batch ahead is shifted by a step
for good, which no difference of times can see.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

Batches = Iterator[Any]
Loop = Callable[["Turnstile"], None]


class Over(BaseException):
    """Ends a loop, whatever it catches."""


class Turn(NamedTuple):
    """What some steps of a loop took.

    Attributes:
        wall: Seconds.
        cpu: Seconds of processor time, all threads of this process.
        tokens: Real tokens of the batches that were handed out.
        steps: How many those were.
    """

    wall: float
    cpu: float
    tokens: int
    steps: int


class Turnstile:
    """The batches of one loop, handed out when it is its turn, over and over.

    Args:
        batches: What is handed out; an iterable that is begun again when it has ended.
        tokens: Real tokens of a batch.
    """

    def __init__(self, batches: Iterable[Any], tokens: Callable[[Any], int] = lambda _: 0) -> None:
        self._batches = batches
        self._tokens = tokens
        self._asked = threading.Semaphore(0)
        self._permitted = threading.Semaphore(0)
        self._over = False
        self._handed = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Batches:
        while True:
            yield from self.through(self._batches)

    def through(self, batches: Iterable[Any]) -> Batches:
        """These batches, each when it is its turn."""
        for batch in batches:
            self._asked.release()
            self._permitted.acquire()
            if self._over:
                raise Over
            self._handed += self._tokens(batch)
            yield batch

    def wait(self) -> None:
        """Until the loop asks for its next batch, or has failed."""
        self._asked.acquire()
        if self.failure is not None:
            raise RuntimeError("a loop that is measured has failed") from self.failure

    def hand(self, count: int) -> None:
        """Hand out so many batches, and wait until the loop asks for one more."""
        self._permitted.release(count)
        for _ in range(count):
            self.wait()

    def end(self) -> None:
        """Make the loop end where it asks for its next batch."""
        self._over = True
        self._permitted.release()

    def taken(self) -> int:
        """Real tokens handed out since the last call."""
        handed, self._handed = self._handed, 0
        return handed

    def run(self, loop: Loop) -> None:
        """The loop, to its end; what it raises is kept."""
        try:
            keep_graphs_of_thread()
            loop(self)
            raise RuntimeError("it ended while it had batches")
        except Over:
            pass
        except BaseException as failure:
            self.failure = failure
            self._asked.release()


def keep_graphs_of_thread() -> None:
    """Give this thread a place for the CUDA graphs of compiled steps, which torch gives to the main
    thread only."""
    if not torch.cuda.is_available():
        return
    from torch._inductor import cudagraph_trees as trees

    for name, value in (
        ("tree_manager_containers", {}),
        ("tree_manager_locks", defaultdict(threading.Lock)),
    ):
        setattr(trees.local, name, value)
        torch._C._stash_obj_in_tls(name, value)


class Lane:
    """A loop in its thread.

    Args:
        name: Of the arm.
        loop: Reads the turnstile's batches until they end.
        batches: What it is handed.
        tokens: Real tokens of a batch.
        settle: Waits for the device.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        batches: Iterable[Any],
        *,
        tokens: Callable[[Any], int] = lambda _: 0,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.turnstile = Turnstile(batches, tokens)
        self._settle = settle
        self._thread = threading.Thread(target=self.turnstile.run, args=(loop,), daemon=True)

    def start(self) -> None:
        """Let the loop come to its first batch."""
        self._thread.start()
        self.turnstile.wait()

    def turn(self, steps: int) -> Turn:
        """Time so many steps."""
        self._settle()
        self.turnstile.taken()
        wall, cpu = time.perf_counter(), time.process_time()
        self.turnstile.hand(steps)
        self._settle()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Turn(wall, cpu, self.turnstile.taken(), steps)

    def stop(self) -> None:
        """End the loop."""
        self.turnstile.end()
        self._thread.join(timeout=60)


def in_turns(
    lanes: Sequence[Any], *, rounds: int, steps: int, warm_up: int
) -> dict[str, list[Turn]]:
    """So many steps of each lane, in so many rounds; every other round the other way round.

    Args:
        lanes: Loops, with `name`, `start()`, `turn(steps)` and `stop()`.
        rounds: Turns of each that count.
        steps: Steps of a turn.
        warm_up: Steps of each before.

    Returns:
        By name, its turns.
    """
    turns: dict[str, list[Turn]] = {lane.name: [] for lane in lanes}
    try:
        for lane in lanes:
            lane.start()
            if warm_up:
                lane.turn(warm_up)
        for number in range(rounds):
            for lane in lanes if number % 2 == 0 else reversed(lanes):
                turns[lane.name].append(lane.turn(steps))
    finally:
        for lane in lanes:
            lane.stop()
    return turns
