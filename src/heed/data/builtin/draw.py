"""Repeatable randomness, and which split owns what.

A combination (a verb with its object, an aspect with its adjective, ...) belongs to one split for
good, whatever the seed: combinations of `validation` and `test` never occur in `train`. Texts made
of training combinations are dealt to `train` and `validation` by the text itself, so the two never
share a text.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

Split = Literal["train", "validation", "test"]
Combination = tuple[str, ...]
T = TypeVar("T")

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Of 20 shares: 2 of the combinations belong to validation, 2 to test, the other 16 to training.
_VALIDATION_SHARES = (0, 1)
_TEST_SHARES = (2, 3)
_TEXT_SHARES = 10


class Example(NamedTuple):
    """One example: its row, the combinations it holds, and the text that tells it from others."""

    row: dict[str, Any]
    combinations: tuple[Combination, ...]
    text: str


class Draw(random.Random):
    """A random stream with the three questions that the generators ask."""

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, each as likely as the next (faster than `choice`)."""
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick_other(self, items: Sequence[T], *taken: T) -> T:
        """One of `items` that is not among `taken`."""
        while True:
            item = self.pick(items)
            if item not in taken:
                return item


def stable_hash(*parts: object) -> int:
    """A 64-bit number that depends on the parts alone: not on the process, platform or version."""
    joined = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big")


def listed(text: str, separator: str | None = ";") -> tuple[str, ...]:
    """The entries of a written list; without a separator, its words."""
    return tuple(text.split(separator))


@functools.cache
def owner_of_combination(*combination: str) -> Split:
    """The only split in which this combination may occur."""
    share = stable_hash("combination", *combination) % 20
    if share in _VALIDATION_SHARES:
        return "validation"
    return "test" if share in _TEST_SHARES else "train"


def owner_of_text(text: str) -> Split:
    """Of a text made of training combinations: the only split in which it may occur."""
    return "validation" if stable_hash("text", text) % _TEXT_SHARES == 0 else "train"
