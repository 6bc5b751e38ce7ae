"""The likeliest continuations in two Triton kernels, which read the logits once.

The first cuts each row of logits into parts, and takes the likeliest tokens of each part and what
the softmax needs; the second puts the parts of a sentence's beams together. Nothing is sorted: the
likeliest is taken away as often as one is wanted.

Legend: B sentences, K beams (BEAMS, a power of two, in tiles), N = B * K rows, V vocabulary, P
parts of a row, C continuations.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heed.decoding.continuations import Continuations

PART = 4096
"""Tokens of a part."""


@triton.jit
def _parts_kernel(
    logits,
    may_end,
    best,
    tokens,
    highest,
    sums,
    vocabulary,
    eos,
    never,
    also_never,
    K: tl.constexpr,
    COUNT: tl.constexpr,
    PARTS: tl.constexpr,
    PART: tl.constexpr,
):
    """Programs: N, P. Of each part the C likeliest that may be written, (N, P, C) logits and
    tokens; and of all its tokens the highest logit and the sum of exp(logit - highest), (N, P)."""
    row, part = tl.program_id(0), tl.program_id(1)
    number = tl.arange(0, PART)
    token = part * PART + number
    start = row.to(tl.int64) * vocabulary
    found = tl.load(logits + start + token, mask=token < vocabulary, other=float("-inf"))
    found = found.to(tl.float32)
    most = tl.max(found, 0)
    total = tl.sum(tl.where(found == float("-inf"), 0.0, tl.exp(found - most)), 0)
    place = row * PARTS + part
    tl.store(highest + place, most)
    tl.store(sums + place, total)
    ends = tl.load(may_end + row // K) != 0
    forbidden = (token == never) | (token == also_never) | ((token == eos) & (not ends))
    found = tl.where(forbidden, float("-inf"), found)
    for i in tl.static_range(COUNT):
        value, index = tl.max(found, 0, return_indices=True)
        tl.store(best + place * COUNT + i, value)
        tl.store(tokens + place * COUNT + i, part * PART + index)
        found = tl.where(number == index, float("-inf"), found)


@triton.jit
def _sentences_kernel(
    best,
    part_tokens,
    highest,
    sums,
    scores,
    gains,
    parents,
    tokens,
    K: tl.constexpr,
    COUNT: tl.constexpr,
    PARTS: tl.constexpr,
    BEAMS: tl.constexpr,
    PART_TILE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Programs: B. The C likeliest of the K rows of a sentence, (B, C) each."""
    sentence = tl.program_id(0)
    beam = tl.arange(0, BEAMS)
    row = sentence * K + beam
    part = tl.arange(0, PART_TILE)
    inside = (beam < K)[:, None] & (part < PARTS)[None, :]
    where = row[:, None] * PARTS + part[None, :]
    parts_highest = tl.load(highest + where, mask=inside, other=float("-inf"))
    parts_sum = tl.load(sums + where, mask=inside, other=0.0)
    most = tl.max(parts_highest, 1)  # (BEAMS,)
    most = tl.where(most == float("-inf"), 0.0, most)
    total = tl.sum(parts_sum * tl.exp(parts_highest - most[:, None]), 1)
    normaliser = most + tl.log(tl.where(total == 0.0, 1.0, total))
    before = tl.load(scores + row, mask=beam < K, other=float("-inf"))

    number = tl.arange(0, TILE)
    inside = (beam < K)[:, None] & (number < PARTS * COUNT)[None, :]
    where = row[:, None] * (PARTS * COUNT) + number[None, :]
    found = tl.load(best + where, mask=inside, other=float("-inf"))
    found = found - normaliser[:, None] + before[:, None]
    found = tl.reshape(found, [BEAMS * TILE])
    everything = tl.arange(0, BEAMS * TILE)
    for i in tl.static_range(COUNT):
        value, index = tl.max(found, 0, return_indices=True)
        parent = tl.minimum(index // TILE, K - 1)
        place = tl.minimum(index % TILE, PARTS * COUNT - 1)
        token = tl.load(part_tokens + (sentence * K + parent) * (PARTS * COUNT) + place)
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
    part = max(triton.next_power_of_2(count), min(PART, triton.next_power_of_2(vocabulary)))
    parts = triton.cdiv(vocabulary, part)
    best = scores.new_empty(rows, parts, count)
    part_tokens = torch.empty(rows, parts, count, dtype=torch.int32, device=logits.device)
    highest, sums = scores.new_empty(rows, parts), scores.new_empty(rows, parts)
    never_two = (*never, -1, -1)[:2]
    _parts_kernel[(rows, parts)](
        logits,
        may_end.view(torch.uint8),
        best,
        part_tokens,
        highest,
        sums,
        vocabulary,
        eos,
        *never_two,
        K=beams,
        COUNT=count,
        PARTS=parts,
        PART=part,
    )
    gains = scores.new_empty(sentences, count)
    parents, tokens = (
        torch.empty(sentences, count, dtype=torch.long, device=logits.device) for _ in range(2)
    )
    _sentences_kernel[(sentences,)](
        best,
        part_tokens,
        highest,
        sums,
        scores,
        gains,
        parents,
        tokens,
        K=beams,
        COUNT=count,
        PARTS=parts,
        BEAMS=triton.next_power_of_2(beams),
        PART_TILE=triton.next_power_of_2(parts),
        TILE=triton.next_power_of_2(parts * count),
    )
    return Continuations(gains, parents, tokens)
