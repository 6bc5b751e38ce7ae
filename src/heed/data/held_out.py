"""Splits taken out of the training data when a data set has none of its own."""

from __future__ import annotations

import functools
import hashlib
import heapq
import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping

from heed.data.files import SPLITS, Split
from heed.data.rows import RawRow
from heed.data.source import Source
from heed.errors import UserError


def held_out_rows(
    n_rows: int, shares: Mapping[str, float | int | None], *, seed: int
) -> dict[str, frozenset[int]]:
    """Choose rows at random, the same ones whenever the arguments are the same.

    Args:
        n_rows: Rows of the training data.
        shares: Split -> how much to take: a number below 1 is a share of the rows (at least one row
            is taken), any other a number of rows; None takes nothing.
        seed: Which rows.

    Returns:
        Split -> row indices, from 0; no row is in two splits, and one row at least is left over.
    """
    sizes = {}
    for split, share in shares.items():
        if share is not None:
            sizes[split] = max(1, round(share * n_rows)) if share < 1 else int(share)
    generator = random.Random(seed)
    total = min(sum(sizes.values()), max(n_rows - 1, 0))
    ranked = heapq.nsmallest(total, ((generator.random(), row) for row in range(n_rows)))
    chosen = [row for _, row in ranked]
    taken: dict[str, frozenset[int]] = {}
    start = 0
    for split, size in sizes.items():
        taken[split] = frozenset(chosen[start : start + size])
        start += size
    return taken


class WithHeldOut(Source):
    """A source that takes missing splits out of its training data.

    `_own` tells which of the splits the data has. A missing validation or test split is taken from
    the training rows if `held_out` names it; else a missing test split is the validation split.
    """

    def __init__(self, *, held_out: Mapping[str, float | int | None] | None, seed: int) -> None:
        self.held_out = dict(held_out or {})
        self.seed = seed
        for split, share in self.held_out.items():
            if split not in ("validation", "test"):
                raise UserError(
                    f"data.source.held_out must name validation or test, but names {split!r}"
                )
            if share is not None and share <= 0:
                raise UserError(
                    f"data.source.held_out.{split} must be a share of the training rows, or a "
                    f"number of them, above 0, but is {share}",
                    f"try data.source.held_out.{split}=0.05",
                )

    @abstractmethod
    def _own(self, split: Split) -> bool:
        """Whether the data has this split."""

    @abstractmethod
    def _own_rows(self, split: Split) -> Iterator[RawRow]:
        """Rows of a split that the data has."""

    @abstractmethod
    def _own_fingerprint(self, split: Split) -> str:
        """Fingerprint of a split that the data has."""

    @abstractmethod
    def _own_place(self, split: Split) -> str:
        """Name of a split that the data has, for messages."""

    @functools.cached_property
    def _taken(self) -> dict[str, frozenset[int]]:
        shares = {
            split: self.held_out.get(split)
            for split in ("validation", "test")
            if self.held_out.get(split) is not None and not self._own(split)
        }
        if not shares:
            return {}
        n_rows = sum(1 for _ in self._own_rows("train"))
        if n_rows <= len(shares):
            raise UserError(
                f"{self._own_place('train')} must have at least {len(shares) + 1} rows to take "
                f"{' and '.join(shares)} data from, but has {n_rows}",
                "give a file for each split",
            )
        return held_out_rows(n_rows, shares, seed=self.seed)

    def _stands_for(self, split: Split) -> Split:
        """The split itself, or the one that stands in for it."""
        if split == "test" and not self._own(split) and self.held_out.get(split) is None:
            return "validation"
        return split

    def rows(self, split: Split) -> Iterator[RawRow]:
        """See `Source.rows`."""
        split = self._stands_for(split)
        if split == "train" and self._taken:
            away: frozenset[int] = frozenset().union(*self._taken.values())
            yield from (row for i, row in enumerate(self._own_rows("train")) if i not in away)
        elif self._own(split):
            yield from self._own_rows(split)
        elif split in self._taken:
            chosen = self._taken[split]
            yield from (row for i, row in enumerate(self._own_rows("train")) if i in chosen)
        else:
            raise UserError(
                f"{self._own_place(split)} must have {split} data, but there is none",
                f"give data.source.files.{split}=NAME or data.source.held_out.{split}=0.05",
            )

    def fingerprint(self, split: Split) -> str:
        """See `Source.fingerprint`."""
        split = self._stands_for(split)
        if self._own(split) and not (split == "train" and self._held_out_now()):
            return self._own_fingerprint(split)
        parts = [self._own_fingerprint("train"), split, str(self.seed), str(self._held_out_now())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _held_out_now(self) -> dict[str, float | int]:
        return {
            name: share
            for name in SPLITS
            if (share := self.held_out.get(name)) is not None and not self._own(name)
        }

    def describe(self, split: Split) -> str:
        """See `Source.describe`."""
        stands_for = self._stands_for(split)
        if self._own(stands_for):
            place = self._own_place(stands_for)
        else:
            share = self.held_out.get(stands_for)
            amount = f"{share:.0%}" if share is not None and share < 1 else f"{share} rows"
            place = f"{amount} of {self._own_place('train')}, held out with seed {self.seed}"
        return place if stands_for == split else f"{place} (there is no test data of its own)"
