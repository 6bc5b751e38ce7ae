"""Where the keys, or the values, of a layer are kept while they grow.

Legend: N rows, G heads of keys and values, T cached positions, C positions there is room for, K
head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST_ROOM = 32
"""Positions there is room for at first; when they are used up, for twice as many."""


class Columns:
    """Positions that are added at the end and reordered by row, in memory that is used again.

    They lie as (C, N, G, K): to add a position writes one piece of memory, and to reorder the rows
    copies what is used, once, into a second piece that changes places with the first.
    """

    def __init__(self) -> None:
        self.length = 0
        """T."""
        self._kept: Tensor | None = None  # (C, N, G, K)
        self._spare: Tensor | None = None  # 1-D, what a reordering writes to

    @property
    def tensor(self) -> Tensor | None:
        """(N, G, T, K), a view; None while there is nothing."""
        return None if self._kept is None else self._kept[: self.length].permute(1, 2, 0, 3)

    def append(self, new: Tensor) -> Tensor:
        """Add (N, G, T', K) and return all, (N, G, T + T', K)."""
        added = new.permute(2, 0, 1, 3)  # (T', N, G, K)
        length = self.length + added.shape[0]
        if added.requires_grad:  # gradients reach what was written, so it must stay as it is
            past = () if self._kept is None else (self._kept[: self.length],)
            self._kept, self._spare = torch.cat((*past, added)), None
        else:
            self._make_room(length, added)
            assert self._kept is not None
            self._kept[self.length : length] = added
        self.length = length
        found = self.tensor
        assert found is not None
        return found

    def _make_room(self, length: int, like: Tensor) -> None:
        if self._kept is not None and length <= self._kept.shape[0]:
            return
        room = max(FIRST_ROOM, length, 2 * self.length)
        grown = like.new_empty((room, *like.shape[1:]))
        if self._kept is not None:
            grown[: self.length] = self._kept[: self.length]
        self._kept, self._spare = grown, None

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row `rows[i]` was; rows (N',) may be repeated or left out."""
        kept = self._kept
        if kept is None:
            return
        if kept.requires_grad:
            self._kept = kept.index_select(1, rows)
            return
        shape = (kept.shape[0], len(rows), *kept.shape[2:])
        size = shape[0] * shape[1] * shape[2] * shape[3]
        if self._spare is None or self._spare.numel() < size:
            self._spare = kept.new_empty(size)
        moved = self._spare[:size].view(shape)
        torch.index_select(kept[: self.length], 1, rows, out=moved[: self.length])
        self._kept, self._spare = moved, kept.view(-1)

    def join(self, other: Columns, length: int) -> None:
        """Put another's rows below, the newest positions side by side, and keep `length` of them.

        What a row does not have is zero. Both have been written to.
        """
        own, others = self._kept, other._kept
        assert own is not None
        assert others is not None
        above = own.shape[1]
        size = (max(FIRST_ROOM, 2 * length), above + others.shape[1], *own.shape[2:])
        joined = own.new_empty(size)
        for kept, used, place in (
            (own, self.length, joined[:length, :above]),
            (others, other.length, joined[:length, above:]),
        ):
            taken = min(used, length)
            place[: length - taken] = 0.0
            place[length - taken :] = kept[used - taken : used]
        self._kept, self._spare, self.length = joined, None, length
