"""Projection to a vocabulary and its cross entropy in one, without the logits of all tokens.

Logits are made for a slice of tokens at a time, and turned in place into their gradient, from which
those of hidden states and weight are made at once, before the next slice (as in Hsu et al. 2024,
"Liger Kernel", section 3.2). Of the size of the logits there is one slice, one softmax is computed,
and nothing is computed twice.

Legend: N tokens, D model width, V vocabulary, R rows of a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.heads.loss import Loss

CPU_ROWS = 512
"""Tokens of a slice on a CPU: fewer, and the weight's gradient is added to too often."""
GPU_SLICE = 2**28
"""Numbers of a slice on a GPU: 1 GiB of fp32."""


def can_project(hidden: Tensor, soft_cap: float | None = None) -> bool:
    """Whether `projected_cross_entropy` can take the place of a head and its loss: without a soft
    cap, and not in fp16, where gradients vanish that are made before the loss is scaled."""
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    return soft_cap is None and dtype != torch.float16


def projected_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    mask: Tensor | None = None,
    smoothing: float = 0.0,
) -> Loss:
    """`heed.heads.loss.label_smoothed_cross_entropy` of `scale * hidden @ weight.T + bias`.

    Products are in the type of autocast, or else of `hidden`; sums and the softmax in fp32. Where
    gradients are wanted, they are made here and only multiplied by the loss's own in the backward
    pass.

    Args:
        hidden: (..., D).
        weight: (V, D), which may be an embedding table too.
        labels: (...) long; any value where the mask is False.
        bias: (V,).
        scale: Factor of the scores, before their bias.
        mask: (...) bool, True where a label counts; None: everywhere.
        smoothing: In [0, 1).

    Returns:
        The sum in nats and the number of labels that count, as fp32.
    """
    assert can_project(hidden), "use the head and its loss"
    counted = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    if scale != 1.0:
        hidden = hidden * scale
    with torch.autocast(hidden.device.type, enabled=False):
        total = _ProjectedCrossEntropy.apply(
            hidden.flatten(0, -2).to(dtype),
            *(weight, bias, labels.masked_fill(~counted, 0).flatten(), counted.flatten()),
            *(smoothing, torch.is_grad_enabled()),
        )
    return Loss(total, counted.sum().float())


class _ProjectedCrossEntropy(torch.autograd.Function):
    """With z the logits of a token, Z = log sum exp z and e the smoothing, its loss is
    Z - (1 - e) z[label] - e mean(z), and the gradient softmax(z) - (1 - e) onehot - e / V.

    mean(z) is the hidden state times the mean of the weight's rows, and what e / V gives to the
    gradients is the same for all tokens of a vocabulary: neither costs a pass over logits. Z is
    that of the likeliest token, whose probability is never too small to take the logarithm of.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        counted: Tensor,
        smoothing: float,
        graded: bool,
    ) -> Tensor:
        """(N, D), (V, D), (V,), (N,), (N,) -> ()."""
        wanted = [graded and needed for needed in ctx.needs_input_grad[:3]]
        cast = weight.to(hidden.dtype)
        cast_bias = None if bias is None else bias.to(hidden.dtype)
        real = counted[:, None]
        hidden = hidden.masked_fill(~real, 0.0)  # gives nothing to the weight's gradient
        dhidden = torch.empty_like(hidden) if wanted[0] else None
        dweight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        dbias = torch.zeros_like(weight[:, 0], dtype=torch.float32) if wanted[2] else None
        losses = torch.empty(labels.shape, dtype=torch.float32, device=hidden.device)
        for rows in _slices(hidden, weight):
            h, label = hidden[rows], labels[rows, None]
            z = _project(h, cast, cast_bias)  # (R, V)
            own = z.gather(1, label)[:, 0].float()
            highest, place = z.max(-1, keepdim=True)
            p = _softmax(z)
            log_sums = (highest.float() - p.gather(1, place).float().log())[:, 0]
            losses[rows] = log_sums - (1.0 - smoothing) * own
            if not any(wanted):
                continue
            p.scatter_add_(1, label, p.new_full(label.shape, smoothing - 1.0))
            if dbias is not None:
                dbias += counted[rows].to(p.dtype) @ p
            p = p.to(hidden.dtype)
            if dhidden is not None:
                torch.mm(p, cast, out=dhidden[rows])
            if dweight is not None:
                if dweight.dtype == p.dtype:
                    dweight.addmm_(p.T, h)
                else:
                    dweight += p.T @ h
        if smoothing:
            mean = weight.mean(0, dtype=torch.float32)  # (D,)
            losses -= smoothing * (hidden.float() @ mean)
            if bias is not None:
                losses -= smoothing * bias.mean(dtype=torch.float32)
            if dhidden is not None:
                dhidden -= (smoothing * mean).to(dhidden.dtype)
            if dweight is not None:
                dweight -= smoothing / weight.shape[0] * hidden.sum(0, dtype=torch.float32)
            if dbias is not None:
                dbias -= smoothing / weight.shape[0] * counted.sum()
        if dhidden is not None:
            dhidden.masked_fill_(~real, 0.0)
        ctx.save_for_backward(dhidden, dweight, dbias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return losses.masked_fill(~counted, 0.0).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """() -> (N, D), (V, D), (V,)."""
        found = [
            None if x is None else (x * gradient).to(dtype)
            for x, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *found, None, None, None, None


def _project(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return hidden @ weight.T if bias is None else torch.addmm(bias, hidden, weight.T)


def _softmax(z: Tensor) -> Tensor:
    """In fp32, in place of `z` if that is fp32."""
    if z.dtype == torch.float32:
        return torch.softmax(z, -1, out=z)
    return z.softmax(-1, dtype=torch.float32)


def _slices(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """Slices of tokens."""
    step = CPU_ROWS if hidden.device.type == "cpu" else max(1, GPU_SLICE // weight.shape[0])
    return (slice(start, start + step) for start in range(0, hidden.shape[0], step))
