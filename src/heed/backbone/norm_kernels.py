"""Layer norm and RMS norm forward and backward in Triton: the code that runs on a GPU.

What is normalised may be a residual sum, x + dropout(y), which is then made on the way. Which
numbers are dropped is drawn from a counter (Salmon et al. 2011; 7 rounds of Philox, 16 bits for
each), so that going backward draws the same again and nothing is kept. The backward pass reads each
row once: a program goes through tiles of rows, writes their gradients, and keeps its part of the
gradients of gain and bias in registers; a second kernel adds the parts up, in the same order every
time. `norm_operator.py` is how they are called.

Legend: N rows, D columns, W the power of two from D on (WIDTH), R rows of a tile (ROWS), P
programs.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _places(number, rows, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """(R,) the rows of a tile, (R, W) where its numbers lie, and which there are."""
    i = number * ROWS + tl.arange(0, ROWS)
    j = tl.arange(0, WIDTH)[None, :]
    there = (i[:, None] < rows) & (j < COLUMNS)
    return i, i.to(tl.int64)[:, None] * COLUMNS + j, there


@triton.jit
def _kept(seed, i, level, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """(R, W): which numbers are not dropped. One draw of 128 bits decides for eight of a row."""
    draws = i[:, None] * (WIDTH // 8) + tl.arange(0, WIDTH // 8)[None, :]
    a, b, c, d = tl.randint4x(tl.load(seed), draws, 7)
    words = tl.join(tl.join(a, b), tl.join(c, d))
    halves = tl.join(words & 0xFFFF, words >> 16)
    return tl.reshape(halves, [ROWS, WIDTH]) >= level


@triton.jit
def forward_kernel(
    x,
    added,
    weight,
    bias,
    seed,
    output,
    total,
    means,
    scales,
    rows,
    level,
    factor,
    epsilon,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    ADDED: tl.constexpr,
    DROPPED: tl.constexpr,
    CENTERED: tl.constexpr,
    BIASED: tl.constexpr,
):
    """Programs: N / R, rounded up.

    Args:
        x: (N, D); likewise `output`, and if ADDED `added` and `total`, their sum.
        weight: (D,), the gain; likewise `bias`, if BIASED.
        seed: (1,) int64, if DROPPED.
        means: (N,), if CENTERED.
        scales: (N,) what rows are multiplied by: one over their deviation.
        rows: N.
        level: Of 65,536 numbers that are added so many are dropped, if DROPPED.
        factor: Of the others.
        epsilon: Added to the variance.
        CENTERED: Whether the mean is subtracted, as by a layer norm.
    """
    i, places, there = _places(tl.program_id(0), rows, COLUMNS, WIDTH, ROWS)
    j = tl.arange(0, WIDTH)
    numbers = tl.load(x + places, mask=there, other=0.0).to(tl.float32)
    if ADDED:
        others = tl.load(added + places, mask=there, other=0.0).to(tl.float32)
        if DROPPED:
            others = tl.where(_kept(seed, i, level, WIDTH, ROWS), others * factor, 0.0)
        numbers += others
        tl.store(total + places, numbers.to(total.dtype.element_ty), mask=there)
    if CENTERED:
        mean = tl.sum(numbers, 1) / COLUMNS
        numbers = tl.where(there, numbers - mean[:, None], 0.0)
        tl.store(means + i, mean, mask=i < rows)
    scale = 1.0 / tl.sqrt(tl.sum(numbers * numbers, 1) / COLUMNS + epsilon)
    tl.store(scales + i, scale, mask=i < rows)
    gain = tl.load(weight + j, mask=j < COLUMNS, other=0.0).to(tl.float32)
    found = numbers * scale[:, None] * gain[None, :]
    if BIASED:
        found += tl.load(bias + j, mask=j < COLUMNS, other=0.0).to(tl.float32)[None, :]
    tl.store(output + places, found.to(output.dtype.element_ty), mask=there)


@triton.jit
def backward_kernel(
    gradient,
    total,
    weight,
    means,
    scales,
    seed,
    x_gradient,
    added_gradient,
    parts,
    rows,
    level,
    factor,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    ADDED: tl.constexpr,
    DROPPED: tl.constexpr,
    CENTERED: tl.constexpr,
):
    """Programs: P, any number.

    Args:
        gradient: (N, D), of the output.
        total: (N, D), what was normalised.
        x_gradient: (N, D); likewise `added_gradient`, if ADDED.
        parts: (2, P, D) fp32: of the gradients of gain and bias.
    """
    j = tl.arange(0, WIDTH)
    gain = tl.load(weight + j, mask=j < COLUMNS, other=0.0).to(tl.float32)[None, :]
    of_gain = tl.zeros([ROWS, WIDTH], tl.float32)
    of_bias = tl.zeros([ROWS, WIDTH], tl.float32)
    for number in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        i, places, there = _places(number, rows, COLUMNS, WIDTH, ROWS)
        numbers = tl.load(total + places, mask=there, other=0.0).to(tl.float32)
        given = tl.load(gradient + places, mask=there, other=0.0).to(tl.float32)
        scale = tl.load(scales + i, mask=i < rows, other=0.0)[:, None]
        if CENTERED:
            numbers -= tl.load(means + i, mask=i < rows, other=0.0)[:, None]
        normed = tl.where(there, numbers * scale, 0.0)
        of_gain += given * normed
        of_bias += given
        given *= gain
        result = given - normed * (tl.sum(given * normed, 1) / COLUMNS)[:, None]
        if CENTERED:
            result -= (tl.sum(given, 1) / COLUMNS)[:, None]
        result *= scale
        tl.store(x_gradient + places, result.to(x_gradient.dtype.element_ty), mask=there)
        if ADDED:
            if DROPPED:
                result = tl.where(_kept(seed, i, level, WIDTH, ROWS), result * factor, 0.0)
            kind = added_gradient.dtype.element_ty
            tl.store(added_gradient + places, result.to(kind), mask=there)
    own = tl.program_id(0) * COLUMNS + j
    tl.store(parts + own, tl.sum(of_gain, 0), mask=j < COLUMNS)
    other = tl.num_programs(0) * COLUMNS + own
    tl.store(parts + other, tl.sum(of_bias, 0), mask=j < COLUMNS)


@triton.jit
def sum_kernel(
    parts, sums, programs, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr
):
    """(2, P, D) -> (2, D), W columns a program. Programs: (D / W rounded up, 2)."""
    j = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    parts += tl.program_id(1) * programs * COLUMNS
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, programs, ROWS):
        i = start + tl.arange(0, ROWS)
        there = (i[:, None] < programs) & (j[None, :] < COLUMNS)
        total += tl.load(parts + i[:, None] * COLUMNS + j[None, :], mask=there, other=0.0)
    tl.store(sums + tl.program_id(1) * COLUMNS + j, tl.sum(total, 0), mask=j < COLUMNS)
