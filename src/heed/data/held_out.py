"""Splits taken out of the training data when a data set has none of its own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping


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
