"""Rows laid one after another in one long row, so that nothing is padded (Krell et al. 2021).

Legend: R rows, B and T of a padded batch, N positions of the long row, L length of the longest row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.backbone.layout import Padded, attention_mask


class Packed:
    """Rows of different lengths in one row of N positions.

    What is left of the long row after the last real token is one row more, which nobody reads, so
    that batches of a fixed N keep their shape.

    Args:
        lengths: (R,) tokens of each row; at least 0, and N at most in all.
        width: N.
        longest: L, at least the longest of all rows and of what is left.
        offsets, positions: What the attribute and the method of that name give; None: made now.
    """

    def __init__(
        self,
        lengths: Tensor,
        width: int,
        longest: int,
        offsets: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> None:
        self.lengths = lengths
        self.width = width
        self.longest = longest
        if offsets is None:
            ends = F.pad(lengths.cumsum(0), (0, 1), value=width)  # (R + 1,)
            offsets = F.pad(ends, (1, 0)).to(torch.int32)
        self.offsets = offsets
        """(R + 2,) where each row begins, what is left too, and N."""
        if positions is None:
            positions = torch.arange(width, device=lengths.device) - offsets[self.segments()]
        self._positions = positions
        self.kept: Any = None
        """What a kernel has made of it, for the next layer."""

    @classmethod
    def of(cls, lengths: Tensor, width: int | None = None) -> Packed:
        """The layout of rows of these lengths, which are looked at once (a GPU is waited for).

        Args:
            lengths: (R,).
            width: N; None: just enough.
        """
        total = int(lengths.sum())
        width = total if width is None else width
        assert total <= width, "the rows do not fit"
        longest = int(lengths.max()) if lengths.numel() else 0
        return cls(lengths, width, max(longest, width - total))

    def segments(self) -> Tensor:
        """(N,) the row of each position, from 0; R: what is left."""
        return self._segments

    def mask(self) -> Tensor:
        """(1, N) bool, True where there is a token."""
        return (torch.arange(self.width, device=self.lengths.device) < self.lengths.sum())[None]

    def positions(self) -> Tensor:
        """(N,) the position of each token in its row."""
        return self._positions

    @functools.cached_property
    def _segments(self) -> Tensor:
        ends = self.offsets[1:-1].long()
        numbers = torch.arange(self.width, device=ends.device)
        return torch.searchsorted(ends, numbers, right=True)

    @property
    def rows(self) -> int:
        """R."""
        return self.lengths.shape[0]

    @property
    def token_positions(self) -> int:
        """N: the positions that are computed."""
        return self.width

    def real_tokens(self) -> Tensor:
        """() the tokens that belong to a row, left on the device."""
        return self.lengths.sum()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Packed:
        """The same layout with its tensors on another device."""
        return self._with(x.to(device, non_blocking=non_blocking) for x in self._tensors())

    def pin_memory(self) -> Packed:
        """The same layout in page-locked memory."""
        return self._with(x.pin_memory() for x in self._tensors())

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.lengths, self.offsets, self._positions

    def _with(self, tensors: Iterable[Tensor]) -> Packed:
        lengths, offsets, positions = tensors
        return Packed(lengths, self.width, self.longest, offsets, positions)


class Segments:
    """Who may see whom where rows are packed: a query the keys of the row with its own number.

    Stands where a mask would. What is said beside it, such as a bias or that attention is causal,
    is said of each row alone, by positions from 0.

    Args:
        queries: Layout of the Nq queries.
        keys: Layout of the Nk keys, of as many rows.
    """

    def __init__(self, queries: Packed, keys: Packed) -> None:
        assert queries.rows == keys.rows
        self.queries = queries
        self.keys = keys
        self.kept: dict[Any, Any] = {}
        """What kernels have made of it, for the next layer."""


def pack(x: Tensor, layout: Padded, width: int | None = None) -> tuple[Tensor, Packed]:
    """(B, T, ...) padded -> (1, N, ...) packed, zeros in what is left, and its layout.

    Args:
        x: Token numbers, vectors, labels.
        layout: How it lies.
        width: N; None: just enough.
    """
    packed = Packed.of(layout.lengths, width)
    tokens = x[layout.mask()][None]
    return F.pad(tokens, (0, 0) * (x.ndim - 2) + (0, packed.width - tokens.shape[1])), packed


def unpack(x: Tensor, layout: Packed, width: int) -> Tensor:
    """(1, N, ...) packed -> (R, T, ...) padded with zeros to a width T."""
    positions = torch.arange(width, device=x.device)
    places = (layout.offsets[: layout.rows, None] + positions).clamp(max=layout.width - 1)
    real = positions < layout.lengths[:, None]  # (R, T)
    return x[0, places].masked_fill(~real.view(*real.shape, *(1,) * (x.ndim - 2)), 0)


Layout = Padded | Packed
"""How a batch lies."""


def real_rows(layout: Layout) -> Tensor | None:
    """(R,) bool, where a row holds tokens, for packed ones may be empty; None: everywhere."""
    return layout.lengths > 0 if isinstance(layout, Packed) else None


def layout_of(ids: Tensor, layout: Layout | None) -> Layout:
    """The layout of (B, T) ids; None: all of them are tokens."""
    if layout is None:
        return Padded.unpadded(ids.shape[0], ids.shape[1], ids.device)
    rows = 1 if isinstance(layout, Packed) else layout.rows
    assert ids.shape == (rows, layout.width), "ids do not lie as their layout says"
    return layout


def longest(layout: Layout) -> int:
    """More than every position."""
    return layout.longest if isinstance(layout, Packed) else layout.width


def visible(queries: Layout, keys: Layout) -> Tensor | Segments | None:
    """Which keys a query may attend to, if nothing is causal; None: all.

    Returns:
        Bool, broadcastable to (B, 1, Tq, Tk); segments where rows are packed.
    """
    if isinstance(queries, Padded) and isinstance(keys, Padded):
        return attention_mask(queries, keys, causal=False)
    assert isinstance(queries, Packed), "both or none is packed"
    assert isinstance(keys, Packed), "both or none is packed"
    return Segments(queries, keys)


def visible_before(layout: Layout, prefix: Padded | None = None) -> Tensor | Segments | None:
    """Which keys of its own row a causal query may attend to, but for the causal triangle.

    Args:
        layout: Of queries and keys.
        prefix: Layout of the first positions of each row, which all see each other; then the
            triangle is in the mask. None: there are none.
    """
    if isinstance(layout, Packed):
        assert prefix is None, "packed rows have no prefix"
        return Segments(layout, layout)
    if prefix is not None:
        return attention_mask(layout, layout, causal=True, prefix=prefix)
    return None  # rows are padded on the right: the triangle alone hides padding from tokens
