"""Cross entropy with label smoothing, as a sum and a count.

Sums and counts add up over accumulation steps and processes to what one large batch gives; means
do not.

Legend: N tokens, V classes, R rows of a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.heads.loss_operator import has_loss_kernels, token_losses

CPU_SLICE = 2**18
"""Numbers worked on at a time on a CPU: 1 MiB of fp32, which stays in a core's cache."""
GPU_SLICE = 2**27
"""The same on a GPU: 512 MiB of fp32."""


class Loss(NamedTuple):
    """A loss not yet divided: `sum` () in nats, fp32, and `count` () of what was summed."""

    sum: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which no one needs


def label_smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, *, mask: Tensor | None = None, smoothing: float = 0.0
) -> Loss:
    """-(1 - smoothing) log p(label) - smoothing * mean over V of log p (Szegedy et al. 2016,
    section 7; Vaswani et al. 2017, section 5.4), summed in fp32.

    Nothing of the size of the logits is kept but the logits, nor made but their gradient.

    Args:
        logits: (..., V).
        labels: (...) long; any value where the mask is False.
        mask: (...) bool, True where a label counts; None: everywhere.
        smoothing: In [0, 1).

    Returns:
        The sum in nats and the number of labels that count, as fp32.
    """
    counted = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
    labels = labels.masked_fill(~counted, 0)
    if has_loss_kernels(logits):
        flat = (logits.flatten(0, -2), labels.flatten(), counted.flatten())
        return Loss(token_losses(*flat, smoothing).sum(), counted.sum().float())
    if torch.compiler.is_compiling():  # which makes of the formula what is written out below
        return Loss(_formula(logits, labels, counted, smoothing), counted.sum().float())
    total = _CrossEntropy.apply(
        logits.flatten(0, -2), labels.flatten(), counted.flatten(), smoothing
    )
    return Loss(total, counted.sum().float())


def _formula(logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float) -> Tensor:
    """(..., V), (...), (...) -> ()."""
    z = logits.float()
    losses = z.logsumexp(-1) - (1.0 - smoothing) * z.gather(-1, labels[..., None])[..., 0]
    if smoothing:
        losses = losses - smoothing * z.mean(-1)
    return losses.masked_fill(~counted, 0.0).sum()


class _CrossEntropy(torch.autograd.Function):
    """With z the logits of a token, Z = log sum exp z and e the smoothing, its loss is
    Z - (1 - e) z[label] - e mean(z), and the gradient softmax(z) - (1 - e) onehot - e / V.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float
    ) -> Tensor:
        """(N, V), (N,), (N,) -> ()."""
        log_sums = torch.empty(labels.shape, dtype=torch.float32, device=logits.device)
        losses = torch.empty_like(log_sums)
        for rows in _slices(logits):
            z = logits[rows].float()  # (R, V)
            log_sums[rows] = torch.logsumexp(z, dim=-1)
            own = z.gather(1, labels[rows, None])[:, 0]
            losses[rows] = log_sums[rows] - (1.0 - smoothing) * own
            if smoothing:
                losses[rows] -= smoothing * z.mean(-1)
        ctx.save_for_backward(logits, labels, counted, log_sums)
        ctx.smoothing = smoothing
        return losses.masked_fill(~counted, 0.0).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """() -> (N, V)."""
        logits, labels, counted, log_sums = ctx.saved_tensors
        scale = counted.float() * gradient.float()  # (N,)
        onehot = (ctx.smoothing - 1.0) * scale
        result = torch.empty_like(logits)
        for rows in _slices(logits):
            z = logits[rows].float()
            part = torch.sub(z, log_sums[rows, None]).exp_()  # softmax(z), (R, V)
            if ctx.smoothing:
                part.sub_(ctx.smoothing / logits.shape[1])
            part.mul_(scale[rows, None])
            part.scatter_add_(1, labels[rows, None], onehot[rows, None])
            result[rows] = part
        return result, None, None, None


def _slices(logits: Tensor) -> Iterator[slice]:
    """Slices of rows small enough to be worked on at once."""
    count, width = logits.shape
    step = max(1, (CPU_SLICE if logits.device.type == "cpu" else GPU_SLICE) // width)
    return (slice(start, start + step) for start in range(0, count, step))
