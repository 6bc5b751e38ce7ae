"""Cross entropy with label smoothing in Triton: the code that runs on a GPU.

Going forward each row of logits is read once, going backward once more, and all that is written is
their gradient. `loss_operator.py` is how they are called.

Legend: N tokens, V vocabulary, C columns at a time (COLUMNS).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    logits, labels, counted, losses, log_sums, size, smoothing, COLUMNS: tl.constexpr
):
    """Programs: N.

    Args:
        logits: (N, V).
        labels: (N,) int64, read where counted.
        counted: (N,) bool.
        losses: (N,) fp32, 0 where not counted.
        log_sums: (N,) fp32, the logarithm of the sum of exp(z).
        size: V.
        smoothing: In [0, 1).
    """
    row = tl.program_id(0)
    loss, log_sum = 0.0, 0.0
    if tl.load(counted + row):
        logits += row.to(tl.int64) * size
        highest, total, plain = float("-inf"), 0.0, 0.0
        for start in range(0, size, COLUMNS):
            j = start + tl.arange(0, COLUMNS)
            z = tl.load(logits + j, mask=j < size, other=float("-inf")).to(tl.float32)
            higher = tl.maximum(highest, tl.max(z, 0))
            total = total * tl.exp(highest - higher) + tl.sum(tl.exp(z - higher), 0)
            plain += tl.sum(tl.where(j < size, z, 0.0), 0)
            highest = higher
        own = tl.load(logits + tl.load(labels + row)).to(tl.float32)
        log_sum = highest + tl.log(total)
        loss = log_sum - (1.0 - smoothing) * own - smoothing * (plain / size)
    tl.store(losses + row, loss)
    tl.store(log_sums + row, log_sum)


@triton.jit
def backward_kernel(
    gradient, logits, labels, counted, log_sums, result, size, smoothing, COLUMNS: tl.constexpr
):
    """Programs: N.

    Args:
        gradient: (N,) fp32, of the losses.
        result: (N, V), of the logits; 0 where not counted.
    """
    row = tl.program_id(0)
    logits += row.to(tl.int64) * size
    result += row.to(tl.int64) * size
    kind = result.dtype.element_ty
    if tl.load(counted + row):
        scale = tl.load(gradient + row)
        label = tl.load(labels + row)
        log_sum = tl.load(log_sums + row)
        for start in range(0, size, COLUMNS):
            j = start + tl.arange(0, COLUMNS)
            z = tl.load(logits + j, mask=j < size, other=0.0).to(tl.float32)
            found = tl.exp(z - log_sum) - smoothing / size
            found = (found - tl.where(j == label, 1.0 - smoothing, 0.0)) * scale
            tl.store(result + j, found.to(kind), mask=j < size)
    else:
        for start in range(0, size, COLUMNS):
            j = start + tl.arange(0, COLUMNS)
            tl.store(result + j, tl.zeros([COLUMNS], kind), mask=j < size)
