"""How batches take the slots of a search, and how the host keeps ahead of the device.

The next batch begins as soon as there are slots for it. Whether sentences have ended is read a few
turns late: the device has always a turn to do while the host looks at what it did before.

Legend: B slots.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from torch import Tensor

from heed.arrival import Arrival
from heed.decoding.slots import Found
from heed.decoding.step import Hypothesis

AHEAD = 2
"""Turns that the device is given before the host looks at what the first of them did."""


class Pool(Protocol):
    """Slots with a model.

    Attributes:
        slots: B.
        open: (B,) bool, whether a slot's sentence has not ended.
    """

    slots: int
    open: Tensor

    def begin(self, slots: list[int], batch: Any) -> None:
        """Read a batch into slots, one for each of its sentences."""
        ...

    def turn(self) -> None:
        """One token for every open sentence."""
        ...

    def found(self, slots: list[int]) -> Found:
        """What these slots' sentences have ended with."""
        ...


class Writing:
    """A batch that is being written.

    Args:
        count: Its sentences.
        since: The first turn that they take part in.
    """

    def __init__(self, count: int, since: int) -> None:
        self.since = since
        self.missing = count
        self._parts: list[tuple[Arrival, list[tuple[int, int]]]] = []

    def take(self, arrival: Arrival, places: list[tuple[int, int]]) -> None:
        """Keep what has been found.

        Args:
            arrival: A `Found` of some slots.
            places: Numbers of sentences of this batch, and where in it each is.
        """
        self._parts.append((arrival, places))
        self.missing -= len(places)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Of each sentence, when none is missing; one empty hypothesis where none could end."""
        results: dict[int, list[Hypothesis]] = {}
        for arrival, places in self._parts:
            scores, lengths, tokens = arrival.lists()
            for sentence, place in places:
                found = [
                    Hypothesis(output[:length], score)
                    for score, length, output in zip(
                        scores[place], lengths[place], tokens[place], strict=True
                    )
                    if score > -math.inf
                ]
                results[sentence] = found or [Hypothesis([], -math.inf)]
        return [results[sentence] for sentence in range(len(results))]


def write(pool: Pool, batches: Iterable[Any]) -> Iterator[list[list[Hypothesis]]]:
    """Write batches, the next one while the rest of those before it are still being written.

    Args:
        pool: With no sentence open.
        batches: With a length each, of at most B; each is asked for before there is room for it.

    Yields:
        The hypotheses of each batch, in the order of the batches; as if it had been alone.
    """
    coming = iter(batches)
    following = next(coming, None)
    free = list(range(pool.slots))
    owners: dict[int, tuple[Writing, int]] = {}  # of each slot in use: batch, and sentence of it
    in_order: deque[Writing] = deque()
    flags: deque[tuple[int, Arrival]] = deque()  # what was open after each turn
    turns = 0
    while following is not None or in_order:
        while following is not None and len(following) <= len(free):
            taken = [free.pop() for _ in range(len(following))]
            in_order.append(Writing(len(following), turns))
            owners.update({slot: (in_order[-1], i) for i, slot in enumerate(taken)})
            if taken:
                pool.begin(taken, following)
            following = next(coming, None)
        if owners:
            pool.turn()
            flags.append((turns, Arrival([pool.open])))
            turns += 1
        if len(flags) >= AHEAD:
            turn, arrival = flags.popleft()
            (is_open,) = arrival.lists()
            ended = [
                slot
                for slot, (writing, _) in owners.items()
                if writing.since <= turn and not is_open[slot]
            ]
            room = following is not None and len(free) + len(ended) >= len(following)
            oldest = in_order[0]
            complete = oldest.missing == sum(owners[slot][0] is oldest for slot in ended)
            if ended and (room or complete):
                _collect(pool, ended, owners)
                free += ended
        while in_order and in_order[0].missing == 0:
            yield in_order.popleft().hypotheses()


def _collect(pool: Pool, ended: list[int], owners: dict[int, tuple[Writing, int]]) -> None:
    """Give what slots have found to the batches of their sentences."""
    arrival = Arrival(list(pool.found(ended)))
    places: dict[Writing, list[tuple[int, int]]] = {}
    for place, slot in enumerate(ended):
        writing, sentence = owners.pop(slot)
        places.setdefault(writing, []).append((sentence, place))
    for writing, own in places.items():
        writing.take(arrival, own)
