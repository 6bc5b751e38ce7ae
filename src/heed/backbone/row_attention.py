"""Attention over packed rows of similar lengths on a CPU.

The rows of each head are taken out of the projections, padded to the longest, and what they gather
is laid back: both by copying vectors of one head, so that queries, keys and values are split,
turned and padded in one pass. Going backward, the copies are made the other way round, and nothing
is added up. Widths are rounded up, since libraries build a kernel for every new shape of a product
(docs/notes/speed.md).

Legend: R rows, H heads, G groups of heads, N positions (Nq of queries, Nk of keys), n tokens, L
width of the padded rows, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.backbone.kernels import auto_attention
from heed.backbone.packed import Packed, Segments

WIDTH_STEP = 8
"""L is a multiple of this."""


def projected_row_attention(
    parts: list[Tensor], *, n_heads: int, head_width: int, segments: Segments, causal: bool = False
) -> Tensor:
    """See `heed.backbone.segment_attention.projected_segment_attention`; what is left: zeros."""
    of_queries, of_keys = (_rows_of(one) for one in (segments.queries, segments.keys))
    heads = [x.flatten(0, 1).unflatten(-1, (-1, head_width)) for x in parts]  # (N, heads, K) each
    if len(heads) == 1:
        groups = (heads[0].shape[1] - n_heads) // 2
        query, key, value = _TakeOut.apply(heads[0], of_queries, (n_heads, groups, groups))
    else:
        groups = heads[1].shape[1] // 2
        (query,) = _TakeOut.apply(heads[0], of_queries, (n_heads,))
        key, value = _TakeOut.apply(heads[1], of_keys, (groups, groups))
    found = auto_attention(query, key, value, mask=of_keys.real[:, None, None], causal=causal)
    laid = _LayBack.apply(found, of_queries)
    assert isinstance(laid, Tensor)
    return laid.flatten(1)[None]


class PaddedRows:
    """Where the tokens of packed rows are in padded ones, and the other way round.

    Args:
        layout: How the rows are packed.

    Attributes:
        real: (R, L) bool, where the padded rows have a token.
        tokens: n.
        positions: N.
    """

    def __init__(self, layout: Packed) -> None:
        longest = int(layout.lengths.max()) if layout.rows else 0
        self.width = -(-max(longest, 1) // WIDTH_STEP) * WIDTH_STEP
        self.rows, self.positions = layout.rows, layout.width
        self.tokens = int(layout.lengths.sum())
        columns = torch.arange(self.width)
        self.real = columns < layout.lengths[:, None]
        places = layout.offsets[:-2, None].long() + columns
        self._places = places.clamp_(max=max(layout.width - 1, 0))  # (R, L), any where not real
        self._row = layout.segments()[: self.tokens]
        self._column = layout.positions()[: self.tokens]
        self._outward: dict[Sequence[int], list[Tensor]] = {}
        self._inward: dict[Sequence[int], Tensor] = {}

    def outward(self, heads: Sequence[int]) -> list[Tensor]:
        """(R h L,) for each of these numbers h of heads: where its vectors are among N sum(h)."""
        if heads not in self._outward:
            numbers = torch.arange(sum(heads)).split(list(heads))
            places = self._places[:, None] * sum(heads)
            self._outward[heads] = [(places + own[:, None]).flatten() for own in numbers]
        return self._outward[heads]

    def inward(self, heads: Sequence[int]) -> Tensor:
        """(n sum(h),): where the vectors of each token are among those of all the padded rows."""
        if heads not in self._inward:
            found, before = [], 0
            for count in heads:
                number = self._row[:, None] * count + torch.arange(count)  # of row and head, (n, h)
                found.append(number * self.width + self._column[:, None] + before)
                before += self.rows * count * self.width
            self._inward[heads] = torch.cat(found, 1).flatten()
        return self._inward[heads]

    def padded(self, x: Tensor, heads: Sequence[int]) -> tuple[Tensor, ...]:
        """(N, sum(h), K) -> (R, h, L, K) for each h, some token's where there is none."""
        vectors = x.reshape(-1, x.shape[-1])
        return tuple(
            vectors.index_select(0, index).view(self.rows, count, self.width, -1)
            for count, index in zip(heads, self.outward(heads), strict=True)
        )

    def packed(self, parts: Sequence[Tensor], heads: Sequence[int]) -> Tensor:
        """(R, h, L, K) for each h -> (N, sum(h), K), zeros where there is no token."""
        width = parts[0].shape[-1]
        vectors = [x.reshape(-1, width) for x in parts]
        both = vectors[0] if len(vectors) == 1 else torch.cat(vectors)
        found = both.new_empty(self.positions, sum(heads), width)
        real = found[: self.tokens].view(-1, width)
        torch.index_select(both, 0, self.inward(heads), out=real)
        found[self.tokens :] = 0.0
        return found


class _TakeOut(torch.autograd.Function):
    """`PaddedRows.padded`, and `packed` of its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: PaddedRows, heads: tuple[int, ...]) -> Any:
        ctx.given = (rows, heads)
        return rows.padded(x, heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        rows, heads = ctx.given
        return rows.packed(gradients, heads), None, None


class _LayBack(torch.autograd.Function):
    """`PaddedRows.packed`, and `padded` of its gradient, with zeros where there is no token."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: PaddedRows) -> Tensor:
        """(R, H, L, K) -> (N, H, K)."""
        ctx.given = (rows, (x.shape[1],))
        return rows.packed([x], (x.shape[1],))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        rows, heads = ctx.given
        (found,) = rows.padded(gradient, heads)
        return found.masked_fill_(~rows.real[:, None, :, None], 0.0), None


def _rows_of(layout: Packed) -> PaddedRows:
    """Made once for a batch: all layers of both stacks look at the same."""
    if layout.kept is None:
        layout.kept = PaddedRows(layout)
    assert isinstance(layout.kept, PaddedRows)
    return layout.kept
