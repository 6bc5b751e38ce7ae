"""What a decoder remembers of the tokens it has seen, so that each new one costs one step.

Legend: N rows (batch times beams), M memory rows, G heads of keys and values, T cached positions,
S memory length, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from heed.backbone.cache_columns import Columns
from heed.backbone.layout import Padded, attention_mask


class LayerCache:
    """The keys and values of one decoder layer."""

    def __init__(self) -> None:
        self.keys = Columns()
        self.values = Columns()
        self.cross_key: Tensor | None = None
        self.cross_value: Tensor | None = None

    @property
    def key(self) -> Tensor | None:
        """(N, G, T, K); None while empty."""
        return self.keys.tensor

    @property
    def value(self) -> Tensor | None:
        """(N, G, T, K); None while empty."""
        return self.values.tensor

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest positions (N, G, T', K) and return all of them (N, G, T + T', K)."""
        return self.keys.append(key), self.values.append(value)

    def join(self, other: LayerCache, length: int) -> None:
        """Put another's rows below, and keep the newest `length` positions; memories apart."""
        self.keys.join(other.keys, length)
        self.values.join(other.values, length)

    def set_cross(self, key: Tensor, value: Tensor) -> None:
        """Keep the keys and values (M, G, S, K) of the memory, which never change."""
        self.cross_key, self.cross_value = key.contiguous(), value.contiguous()


class KeyValueCache:
    """The cache of a whole decoder. It starts empty; `Transformer.decode` fills it.

    Rows may hold prompts of different lengths: the cache knows which of its positions are real.

    Args:
        n_layers: Decoder layers.
    """

    def __init__(self, *, n_layers: int) -> None:
        self.layers = [LayerCache() for _ in range(n_layers)]
        self._memory_count = 0  # M
        self.length = 0
        """T, the columns cached so far."""
        self.real: Tensor | None = None
        """(N, T) bool, which cached columns hold a token; None: all."""
        self.memory_mask: Tensor | None = None
        """(M, 1, 1, S) bool, which memory positions hold a token; None: all."""
        self.memory_rows: Tensor | None = None
        """(N,) which row of the memory each row looks at; None while the cache is empty. Where
        there are fewer memory rows, each is looked at by as many rows, which follow each other: the
        beams of a sentence."""

    def extend(
        self, layout: Padded, prefix: Padded | None = None
    ) -> tuple[Tensor, Tensor | None, int]:
        """Count new columns, and say how they see the old ones.

        Args:
            layout: Of the new tokens, N rows and T' columns.
            prefix: Of the first tokens of each row, which all see each other; they must come into
                an empty cache.

        Returns:
            The position of each new token in its row, (T',) or (N, T'); the mask of their self
            attention, broadcastable to (N, 1, T', T + T') or None; and a number above every
            position.
        """
        device = layout.lengths.device
        assert prefix is None or self.length == 0, "a prefix comes first"
        past, self.length = self.length, self.length + layout.width
        if self.memory_rows is None:
            self._memory_count = layout.rows
            self.memory_rows = torch.arange(layout.rows, device=device)
        keys = Padded.unpadded(layout.rows, self.length, device)
        mask = attention_mask(layout, keys, causal=True, offset=past, prefix=prefix)
        if self.real is None and layout.full:
            return layout.positions() + past, mask, self.length
        if self.real is None:
            self.real = torch.ones(layout.rows, past, dtype=torch.bool, device=device)
        positions = self.real.sum(1)[:, None] + layout.positions()  # (N, T')
        self.real = torch.cat((self.real, layout.mask()), dim=1)  # (N, T + T')
        real = self.real[:, None, None, :]  # (N, 1, 1, T + T')
        width = int(positions.max()) + 1
        return positions, real if mask is None else real & mask, width

    def positions(self) -> Tensor:
        """(T,) or (N, T): the position in its row of each cached column that holds a token."""
        if self.real is not None:
            return self.real.cumsum(1) - 1
        assert self.memory_rows is not None, "an empty cache has no positions"
        return torch.arange(self.length, device=self.memory_rows.device)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row `rows[i]` was; rows may be repeated or left out.

        The beams of one sentence share one row of the memory, whose keys and values move only when
        a sentence leaves: beams multiply and change places for free.

        Args:
            rows: (N',) long.
        """
        assert self.memory_rows is not None, "an empty cache has no rows"
        current = torch.arange(self.memory_rows.shape[0], device=rows.device)
        if torch.equal(rows, current):
            return
        for layer in self.layers:
            layer.keys.reorder(rows)
            layer.values.reorder(rows)
        self.real = _take(self.real, rows)
        self._move_memory(self.memory_rows[rows])

    def join(self, other: KeyValueCache) -> None:
        """Take in another's rows, behind one's own; each goes on where it is.

        Newest positions stand side by side. Columns and memory positions in which no row has a
        token are dropped.

        Args:
            other: Of the same decoder, filled; not used afterwards.
        """
        width = max(self.length, other.length)
        real = torch.cat([_wide(one._real(), width, before=True) for one in (self, other)])
        self.length = width - int(real.any(dim=0).int().argmax())
        for layer, others in zip(self.layers, other.layers, strict=True):
            layer.join(others, self.length)
        real = real[:, width - self.length :]
        self.real = None if bool(real.all()) else real
        self._join_memory(other)

    def _real(self) -> Tensor:
        """(N, T) bool, which columns hold a token."""
        rows = self._memory_rows()
        if self.real is not None:
            return self.real
        return torch.ones(len(rows), self.length, dtype=torch.bool, device=rows.device)

    def _memory_rows(self) -> Tensor:
        assert self.memory_rows is not None, "an empty cache has no rows"
        return self.memory_rows

    def _join_memory(self, other: KeyValueCache) -> None:
        """Put another's memory rows below."""
        both = (self, other)
        if len({len(one._memory_rows()) // max(1, one._memory_count) for one in both}) > 1:
            for one in both:  # each memory row is to be looked at by as many rows
                rows = one._memory_rows()
                one._take_memory(rows)
                one.memory_rows = torch.arange(len(rows), device=rows.device)
        if self.layers[0].cross_key is not None:
            masks = [one._memory_mask() for one in both]
            width = max(mask.shape[3] for mask in masks)
            mask = torch.cat([_wide(mask, width) for mask in masks])
            width -= int(mask.any(dim=0).flatten().flip(0).int().argmax())
            mask = mask[..., :width]
            self.memory_mask = None if bool(mask.all()) else mask
            for layer, others in zip(self.layers, other.layers, strict=True):
                layer.cross_key = _below(layer.cross_key, others.cross_key, width)
                layer.cross_value = _below(layer.cross_value, others.cross_value, width)
        below = other._memory_rows() + self._memory_count
        self.memory_rows = torch.cat((self._memory_rows(), below))
        self._memory_count += other._memory_count

    def _memory_mask(self) -> Tensor:
        """(M, 1, 1, S) bool."""
        if self.memory_mask is not None:
            return self.memory_mask
        key = self.layers[0].cross_key
        assert key is not None
        shape = (self._memory_count, 1, 1, key.shape[2])
        return torch.ones(shape, dtype=torch.bool, device=key.device)

    def _move_memory(self, wanted: Tensor) -> None:
        """Let row i look at what was memory row `wanted[i]`.

        Rows that follow each other and look at the same share one memory row, if there are as many
        of them for each.
        """
        kept, counts = wanted.unique_consecutive(return_counts=True)
        if not bool((counts == counts[:1]).all()):
            kept = wanted
        numbers = torch.arange(len(kept), device=wanted.device)
        self.memory_rows = numbers.repeat_interleave(len(wanted) // max(1, len(kept)))
        if len(kept) == self._memory_count and torch.equal(kept, numbers):
            return
        self._take_memory(kept)

    def _take_memory(self, kept: Tensor) -> None:
        self._memory_count = len(kept)
        for layer in self.layers:
            layer.cross_key = _take(layer.cross_key, kept)
            layer.cross_value = _take(layer.cross_value, kept)
        self.memory_mask = _take(self.memory_mask, kept)


def _take(tensor: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.index_select(0, rows)


def _wide(mask: Tensor, width: int, *, before: bool = False) -> Tensor:
    """(..., S) bool -> (..., width), with False behind or before."""
    missing = width - mask.shape[-1]
    return functional.pad(mask, (missing, 0) if before else (0, missing), value=False)


def _below(upper: Tensor | None, lower: Tensor | None, width: int) -> Tensor:
    """(M, G, S, K) and (M', G, S', K) -> (M + M', G, width, K), cut off or with zeros behind."""
    assert upper is not None
    assert lower is not None
    joined = upper.new_zeros(len(upper) + len(lower), upper.shape[1], width, upper.shape[3])
    for part, place in ((upper, joined[: len(upper)]), (lower, joined[len(upper) :])):
        place[:, :, : part.shape[2]] = part[:, :, :width]
    return joined
