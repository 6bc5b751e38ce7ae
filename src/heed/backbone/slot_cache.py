"""Keys and values of slots: a key-value cache whose rows and positions never change their place.

A slot has K rows, the beams of one sentence, and one row of memory. Each beam knows in which row of
its slot each of its positions lies (`heed.decoding.slots`), so that beams change places without
keys and values being moved.

Legend: B slots, K beams, N = B * K rows, H heads, G groups of heads, L positions of a row, S
positions of a memory, W head width, Y layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heed.backbone.cache import LayerCache
from heed.backbone.kernels import reference_attention
from heed.backbone.segment_attention import can_segment

MOST_BEAMS = 64
"""Beams up to which the kernels are used: those of a sentence are one tile."""


class SlotCache:
    """The keys and values of all layers.

    Args:
        layers: Y.
        slots: B.
        beams: K.
        room: L.
        memory_room: S.
        groups: G.
        head_width: W.
        dtype: Of keys and values.
        device: Where they are kept.
    """

    def __init__(
        self,
        *,
        layers: int,
        slots: int,
        beams: int,
        room: int,
        memory_room: int,
        groups: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        own = (layers, slots * beams, groups, room, head_width)
        memory = (layers, slots, groups, memory_room, head_width)
        self.keys, self.values = (torch.zeros(own, dtype=dtype, device=device) for _ in range(2))
        self.memory_keys, self.memory_values = (
            torch.zeros(memory, dtype=dtype, device=device) for _ in range(2)
        )
        self.memory_lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.positions: Tensor | None = None  # (B,) of the newest tokens
        self.rows: Tensor | None = None  # (B, K, L), in which row of the slot a position lies
        self.layers = [LayerSlots(self, number) for number in range(layers)]

    def look(self, positions: Tensor, rows: Tensor) -> None:
        """Say where the next tokens stand, and where those before them lie."""
        self.positions, self.rows = positions, rows

    def read(self, slots: Tensor, lengths: Tensor, memories: list[tuple[Tensor, Tensor]]) -> None:
        """Keep what new sentences have read.

        Args:
            slots: (b,) of these sentences.
            lengths: (b,) tokens of their memories.
            memories: Keys and values of each layer, (b, G, S', W) each.
        """
        self.memory_lengths[slots] = lengths
        for number, (key, value) in enumerate(memories):
            width = key.shape[2]
            self.memory_keys[number, slots, :, :width] = key.to(self.memory_keys)
            self.memory_values[number, slots, :, :width] = value.to(self.memory_values)


class LayerSlots(LayerCache):
    """The part of one layer; its two attentions have kernels that know where positions lie.

    Args:
        cache: The whole.
        number: Of the layer.
    """

    def __init__(self, cache: SlotCache, number: int) -> None:
        super().__init__()
        self.cache, self.number = cache, number
        self.cross_key = cache.memory_keys[number]
        self.cross_value = cache.memory_values[number]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing yet: `attend` adds them."""
        return key, value

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, dropout_p: float = 0.0, **unused: object
    ) -> Tensor:
        """The `Kernel` of the self attention: keep the newest keys and values, (N, G, 1, W), and
        let the newest queries gather values: (N, H, 1, W) -> (N, H, 1, W)."""
        positions, rows = self.cache.positions, self.cache.rows
        assert positions is not None
        assert rows is not None
        assert dropout_p == 0.0
        assert not any(unused.values()), "slots know no masks and biases"
        keys, values = self.cache.keys[self.number], self.cache.values[self.number]
        return own_attention(query, key, value, keys, values, positions=positions, rows=rows)

    def attend_memory(
        self, query: Tensor, key: Tensor, value: Tensor, *, dropout_p: float = 0.0, **unused: object
    ) -> Tensor:
        """The `Kernel` of the cross attention: (B, H, K, W), 2 x (B, G, S, W) -> (B, H, K, W)."""
        assert dropout_p == 0.0
        assert not any(unused.values()), "slots know no masks and biases"
        return memory_attention(query, key, value, lengths=self.cache.memory_lengths)


def own_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    positions: Tensor,
    rows: Tensor,
) -> Tensor:
    """Self attention of the newest position of each row, by the kernel of `slot_kernels.py` where
    it runs.

    Args:
        query: (N, H, 1, W).
        key: (N, G, 1, W), which is put into `keys`; likewise `value`.
        keys: (N, G, L, W); likewise `values`.
        positions: (B,).
        rows: (B, K, L).

    Returns:
        (N, H, 1, W).
    """
    if can_segment(query, key, value, keys):
        from heed.backbone.slot_kernels import fused_own_attention  # needs Triton

        return fused_own_attention(query, key, value, keys, values, positions=positions, rows=rows)
    return plain_own_attention(query, key, value, keys, values, positions=positions, rows=rows)


def plain_own_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    positions: Tensor,
    rows: Tensor,
) -> Tensor:
    """The definition; see `own_attention`."""
    slots, beams, room = rows.shape
    of_rows = positions.repeat_interleave(beams)  # (N,)
    here = torch.arange(slots * beams, device=rows.device)
    keys[here, :, of_rows] = key[:, :, 0]
    values[here, :, of_rows] = value[:, :, 0]
    first = torch.arange(slots, device=rows.device)[:, None, None] * beams
    where = (rows + first).flatten(0, 1)[:, None]  # (N, 1, L)
    groups = torch.arange(keys.shape[1], device=rows.device)[:, None]
    places = torch.arange(room, device=rows.device)
    mask = (places <= of_rows[:, None])[:, None, None]  # (N, 1, 1, L)
    seen_keys, seen_values = keys[where, groups, places], values[where, groups, places]
    return reference_attention(query, seen_keys, seen_values, mask=mask)


def memory_attention(query: Tensor, key: Tensor, value: Tensor, *, lengths: Tensor) -> Tensor:
    """Cross attention of the beams of each slot, by the kernel of `slot_kernels.py` where it runs.

    Args:
        query: (B, H, K, W).
        key: (B, G, S, W); likewise `value`.
        lengths: (B,) how many of S there are.

    Returns:
        (B, H, K, W).
    """
    if query.shape[2] <= MOST_BEAMS and can_segment(query, key, value):
        from heed.backbone.slot_kernels import fused_memory_attention  # needs Triton

        return fused_memory_attention(query, key, value, lengths=lengths)
    return plain_memory_attention(query, key, value, lengths=lengths)


def plain_memory_attention(query: Tensor, key: Tensor, value: Tensor, *, lengths: Tensor) -> Tensor:
    """The definition; see `memory_attention`."""
    places = torch.arange(key.shape[2], device=lengths.device)
    mask = (places < lengths[:, None])[:, None, None]  # (B, 1, 1, S)
    return reference_attention(query, key, value, mask=mask)
