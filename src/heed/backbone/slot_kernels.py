"""Attention of one new position a row, in Triton: what `slot_cache.py` calls on a GPU.

Masks are lengths, positions are looked up where they lie, and what comes out lies as the next
projection reads it: nothing is gathered, repeated or transposed in memory.

Legend: B slots, K beams, N = B * K rows, H heads, G groups of heads, L positions of a row, S
positions of a memory, W head width (WIDTH).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heed.backbone.segment_attention import dense, scale_of_scores

OWN_TILE = 32
"""Positions of a row that are read at once."""
MEMORY_TILE = 64
"""Positions of a memory, of up to 64 dimensions a head; of wider heads fewer."""
LEAST = 16
"""Rows and columns that a product of tiles needs."""


@triton.jit
def _own_kernel(
    query,
    key,
    value,
    keys,
    values,
    output,
    positions,
    rows,
    query_stride,
    query_head,
    key_stride,
    key_head,
    value_stride,
    value_head,
    room,
    scale,
    K: tl.constexpr,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """Programs: N * H. See `own_attention`; strides are of rows and heads.

    A row's own newest position is not looked up: its key and value come with it.
    """
    head = tl.program_id(0) % HEADS
    row = (tl.program_id(0) // HEADS).to(tl.int64)
    group = head // (HEADS // GROUPS)
    slot = row // K
    position = tl.load(positions + slot)
    column = tl.arange(0, WIDTH)
    q = tl.load(query + row * query_stride + head * query_head + column).to(tl.float32) * scale
    newest_key = tl.load(key + row * key_stride + group * key_head + column)
    newest_value = tl.load(value + row * value_stride + group * value_head + column)
    if head % (HEADS // GROUPS) == 0:
        place = ((row * GROUPS + group) * room + position) * WIDTH + column
        tl.store(keys + place, newest_key)
        tl.store(values + place, newest_value)
    highest = tl.sum(q * newest_key.to(tl.float32), 0)
    total = highest * 0.0 + 1.0
    gathered = newest_value.to(tl.float32)
    for start in range(0, position, TILE):
        earlier = start + tl.arange(0, TILE)
        real = earlier < position
        lies = tl.load(rows + row * room + earlier, mask=real, other=0)
        place = (((slot * K + lies) * GROUPS + group) * room + earlier) * WIDTH
        where = place[:, None] + column[None, :]
        k = tl.load(keys + where, mask=real[:, None], other=0.0).to(tl.float32)
        v = tl.load(values + where, mask=real[:, None], other=0.0).to(tl.float32)
        scores = tl.where(real, tl.sum(k * q[None, :], 1), float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 0))
        weights = tl.exp2(scores - higher)
        shrink = tl.exp2(highest - higher)
        total = total * shrink + tl.sum(weights, 0)
        gathered = gathered * shrink + tl.sum(weights[:, None] * v, 0)
        highest = higher
    place = (row * HEADS + head) * WIDTH + column
    tl.store(output + place, (gathered / total).to(output.dtype.element_ty))


@triton.jit
def _memory_kernel(
    query,
    key,
    value,
    output,
    lengths,
    query_slot,
    query_head,
    query_beam,
    room,
    scale,
    K: tl.constexpr,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    BEAMS: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Programs: B * H. See `memory_attention`; the beams of a slot are one tile of BEAMS."""
    head = tl.program_id(0) % HEADS
    slot = (tl.program_id(0) // HEADS).to(tl.int64)
    group = head // (HEADS // GROUPS)
    length = tl.load(lengths + slot)
    beam, column = tl.arange(0, BEAMS), tl.arange(0, WIDTH)
    real_beam = (beam < K)[:, None]
    query += slot * query_slot + head * query_head
    q_where = beam[:, None] * query_beam + column[None, :]
    q = tl.load(query + q_where, mask=real_beam, other=0.0)
    memory = (slot * GROUPS + group) * room * WIDTH
    highest = tl.full([BEAMS], float("-inf"), tl.float32)
    total = tl.zeros([BEAMS], tl.float32)
    gathered = tl.zeros([BEAMS, WIDTH], tl.float32)
    for start in range(0, length, TILE):
        place = start + tl.arange(0, TILE)
        real = place < length
        where = memory + place[:, None] * WIDTH + column[None, :]
        k = tl.load(key + where, mask=real[:, None], other=0.0)
        v = tl.load(value + where, mask=real[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        scores = tl.where(real[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(highest - higher)
        total = total * shrink + tl.sum(weights, 1)
        found = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        gathered = gathered * shrink[:, None] + found
        highest = higher
    total = tl.where(total == 0.0, 1.0, total)  # nothing to attend to: zeros
    normalised = (gathered / total[:, None]).to(output.dtype.element_ty)
    output_where = ((slot * K + beam[:, None]) * HEADS + head) * WIDTH + column[None, :]
    tl.store(output + output_where, normalised, mask=real_beam)


def fused_own_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    positions: Tensor,
    rows: Tensor,
) -> Tensor:
    """See `heed.backbone.slot_cache.own_attention`; the output lies as (N, H, W)."""
    count, heads, _, width = query.shape
    query, key, value = (dense(x) for x in (query, key, value))
    output = query.new_empty(count, heads, 1, width)
    _own_kernel[(count * heads,)](
        query,
        key,
        value,
        keys,
        values,
        output,
        positions,
        rows,
        *(query.stride(0), query.stride(1)),
        *(key.stride(0), key.stride(1)),
        *(value.stride(0), value.stride(1)),
        room=rows.shape[2],
        scale=scale_of_scores(width),
        K=rows.shape[1],
        HEADS=heads,
        GROUPS=key.shape[1],
        WIDTH=width,
        TILE=OWN_TILE,
        num_warps=2,
    )
    return output


def fused_memory_attention(query: Tensor, key: Tensor, value: Tensor, *, lengths: Tensor) -> Tensor:
    """See `heed.backbone.slot_cache.memory_attention`; the output lies as (B, K, H, W)."""
    slots, heads, beams, width = query.shape
    query = dense(query)
    output = query.new_empty(slots, beams, heads, width).transpose(1, 2)
    room = key.shape[2]
    _memory_kernel[(slots * heads,)](
        query,
        key,
        value,
        output,
        lengths,
        *(query.stride(0), query.stride(1), query.stride(2)),
        room=room,
        scale=scale_of_scores(width),
        K=beams,
        HEADS=heads,
        GROUPS=key.shape[1],
        WIDTH=width,
        BEAMS=max(LEAST, triton.next_power_of_2(beams)),
        TILE=max(LEAST, min(MEMORY_TILE, MEMORY_TILE * 64 // width, triton.next_power_of_2(room))),
        PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=4,
    )
    return output
