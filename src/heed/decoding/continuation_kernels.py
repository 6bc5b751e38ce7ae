"""The likeliest continuations in three Triton kernels, which read the logits once.

The first takes the largest of each block of a row, and what the softmax needs; the second finds the
likeliest tokens of a row in its blocks with the largest; the third puts the rows of a sentence
together. Nothing is sorted: the likeliest is taken away as often as one is wanted.

Legend: B sentences, K beams (BEAMS, a power of two, in tiles), N = B * K rows, V vocabulary, P
parts of a row, M blocks of a row (M / P a part), C continuations (COUNT; WANTED in tiles).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heed.decoding.continuations import Continuations

PART = 4096
"""Tokens of a part, which is what a program reads."""
BLOCK = 64
"""Tokens of a block."""


@triton.jit
def _allowed(found, token, ends, eos, never, also_never):
    """Logits with -inf for tokens that may not be written."""
    forbidden = (token == never) | (token == also_never) | ((token == eos) & (not ends))
    return tl.where(forbidden, float("-inf"), found)


@triton.jit
def _blocks_kernel(
    logits,
    may_end,
    largest,
    highest,
    sums,
    vocabulary,
    eos,
    never,
    also_never,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Programs: N, P. Of each block the largest logit that may be written, (N, M); and of all
    tokens of a part the highest logit and the sum of exp(logit - highest), (N, P)."""
    row, part = tl.program_id(0), tl.program_id(1)
    block = part * BLOCKS + tl.arange(0, BLOCKS)
    token = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    start = row.to(tl.int64) * vocabulary
    found = tl.load(logits + start + token, mask=token < vocabulary, other=float("-inf"))
    found = found.to(tl.float32)
    most = tl.max(tl.max(found, 1), 0)
    total = tl.sum(tl.sum(tl.where(found == float("-inf"), 0.0, tl.exp(found - most)), 1), 0)
    tl.store(highest + row * PARTS + part, most)
    tl.store(sums + row * PARTS + part, total)
    found = _allowed(found, token, tl.load(may_end + row // K) != 0, eos, never, also_never)
    tl.store(largest + row * PARTS * BLOCKS + block, tl.max(found, 1))


@triton.jit
def _rows_kernel(
    logits,
    may_end,
    largest,
    highest,
    sums,
    best,
    tokens,
    vocabulary,
    eos,
    never,
    also_never,
    K: tl.constexpr,
    COUNT: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
    WANTED: tl.constexpr,
    PART_TILE: tl.constexpr,
    BLOCK_TILE: tl.constexpr,
):
    """Programs: N. Of each row the C likeliest, (N, C) log probabilities and tokens."""
    row = tl.program_id(0)
    part = tl.arange(0, PART_TILE)
    of_parts = tl.load(highest + row * PARTS + part, mask=part < PARTS, other=float("-inf"))
    total = tl.load(sums + row * PARTS + part, mask=part < PARTS, other=0.0)
    most = tl.max(of_parts, 0)
    normaliser = most + tl.log(tl.sum(total * tl.exp(of_parts - most), 0))

    number, wanted = tl.arange(0, BLOCK_TILE), tl.arange(0, WANTED)
    where = row * PARTS * BLOCKS + number
    blocks = tl.load(largest + where, mask=number < PARTS * BLOCKS, other=float("-inf"))
    chosen = tl.zeros([WANTED], tl.int32)
    for i in tl.static_range(COUNT):
        value, index = tl.max(blocks, 0, return_indices=True)
        index = tl.where(value == float("-inf"), BLOCK_TILE, index)  # there are no more
        chosen = tl.where(wanted == i, index, chosen)
        blocks = tl.where(number == index, float("-inf"), blocks)

    token = chosen[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (chosen < BLOCK_TILE)[:, None] & (wanted < COUNT)[:, None] & (token < vocabulary)
    start = row.to(tl.int64) * vocabulary
    found = tl.load(logits + start + token, mask=inside, other=float("-inf")).to(tl.float32)
    found = _allowed(found, token, tl.load(may_end + row // K) != 0, eos, never, also_never)
    found = tl.reshape(found, [WANTED * BLOCK])
    everything = tl.arange(0, WANTED * BLOCK)
    for i in tl.static_range(COUNT):
        value, index = tl.max(found, 0, return_indices=True)
        block = tl.sum(tl.where(wanted == index // BLOCK, chosen, 0), 0)
        tl.store(best + row * COUNT + i, value - normaliser)
        tl.store(tokens + row * COUNT + i, block * BLOCK + index % BLOCK)
        found = tl.where(everything == index, float("-inf"), found)


@triton.jit
def _sentences_kernel(
    best,
    row_tokens,
    scores,
    gains,
    parents,
    tokens,
    K: tl.constexpr,
    COUNT: tl.constexpr,
    BEAMS: tl.constexpr,
    WANTED: tl.constexpr,
):
    """Programs: B. The C likeliest of the K rows of a sentence, (B, C) each."""
    sentence = tl.program_id(0)
    beam, number = tl.arange(0, BEAMS), tl.arange(0, WANTED)
    row = sentence * K + beam
    before = tl.load(scores + row, mask=beam < K, other=float("-inf"))
    inside = (beam < K)[:, None] & (number < COUNT)[None, :]
    where = row[:, None] * COUNT + number[None, :]
    found = tl.load(best + where, mask=inside, other=float("-inf")) + before[:, None]
    found = tl.reshape(found, [BEAMS * WANTED])
    everything = tl.arange(0, BEAMS * WANTED)
    for i in tl.static_range(COUNT):
        value, index = tl.max(found, 0, return_indices=True)
        parent = tl.minimum(index // WANTED, K - 1)
        place = tl.minimum(index % WANTED, COUNT - 1)
        token = tl.load(row_tokens + (sentence * K + parent) * COUNT + place)
        tl.store(gains + sentence * COUNT + i, value)
        tl.store(parents + sentence * COUNT + i, parent.to(tl.int64))
        tl.store(tokens + sentence * COUNT + i, token.to(tl.int64))
        found = tl.where(everything == index, float("-inf"), found)


def fused_continuations(
    logits: Tensor, scores: Tensor, *, count: int, never: list[int], eos: int, may_end: Tensor
) -> Continuations:
    """See `heed.decoding.continuations.continuations`."""
    rows, vocabulary = logits.shape
    sentences, beams = scores.shape
    part = min(PART, max(BLOCK, triton.next_power_of_2(vocabulary)))
    parts, blocks = triton.cdiv(vocabulary, part), part // BLOCK
    wanted = triton.next_power_of_2(count)
    largest = scores.new_empty(rows, parts * blocks)
    highest, sums = scores.new_empty(rows, parts), scores.new_empty(rows, parts)
    given = (logits, may_end.view(torch.uint8), largest, highest, sums)
    forbidden = (vocabulary, eos, *(*never, -1, -1)[:2])
    sizes = {"K": beams, "PARTS": parts, "BLOCKS": blocks, "BLOCK": BLOCK}
    _blocks_kernel[(rows, parts)](*given, *forbidden, **sizes)
    best = scores.new_empty(rows, count)
    row_tokens = torch.empty(rows, count, dtype=torch.int32, device=logits.device)
    _rows_kernel[(rows,)](
        *given,
        best,
        row_tokens,
        *forbidden,
        **sizes,
        COUNT=count,
        WANTED=wanted,
        PART_TILE=triton.next_power_of_2(parts),
        BLOCK_TILE=max(wanted, triton.next_power_of_2(parts * blocks)),
        num_warps=1,
    )
    gains = scores.new_empty(sentences, count)
    parents, tokens = (
        torch.empty(sentences, count, dtype=torch.long, device=logits.device) for _ in range(2)
    )
    _sentences_kernel[(sentences,)](
        best,
        row_tokens,
        scores,
        gains,
        parents,
        tokens,
        K=beams,
        COUNT=count,
        BEAMS=triton.next_power_of_2(beams),
        WANTED=wanted,
        num_warps=1,
    )
    return Continuations(gains, parents, tokens)
