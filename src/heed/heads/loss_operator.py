"""The cross entropy of large vocabularies on a GPU, by the kernels of `loss_kernels.py`.

Legend: N tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heed.backbone.triton_kernels import runs_triton

SMALLEST = 1024
"""Fewer classes are left to torch."""
MOST_COLUMNS = 8192
"""Of a row, that a program works on at a time."""
WARPS = 8


def has_loss_kernels(logits: Tensor) -> bool:
    """Whether the losses of logits like these can be computed here."""
    types = (torch.float32, torch.bfloat16, torch.float16)
    return (
        logits.dtype in types and logits.shape[-1] >= SMALLEST and runs_triton(logits.device.type)
    )


def token_losses(logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float) -> Tensor:
    """The loss of each token, as `heed.heads.loss.label_smoothed_cross_entropy` defines it.

    Args:
        logits: (N, V).
        labels: (N,) int64 below V; any value where not counted.
        counted: (N,) bool.
        smoothing: In [0, 1).

    Returns:
        (N,) in nats, fp32, 0 where not counted.
    """
    losses, _ = torch.ops.heed.token_losses(logits, labels, counted, smoothing)
    assert isinstance(losses, Tensor)
    return losses


def _empty_results(
    logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    sizes = labels.shape
    return tuple(logits.new_empty(sizes, dtype=torch.float32) for _ in range(2))  # type: ignore[return-value]


def _forward(
    logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """(N, V), (N,), (N,) -> losses (N,) and the logarithms of sums (N,)."""
    from heed.heads.loss_kernels import forward_kernel

    results = _empty_results(logits, labels, counted, smoothing)
    size = logits.shape[1]
    if len(labels):
        given = (logits.contiguous(), labels.contiguous(), counted.contiguous())
        forward_kernel[(len(labels),)](
            *given, *results, size, smoothing, COLUMNS=_columns(size), num_warps=WARPS
        )
    return results


def _backward(
    gradient: Tensor,
    logits: Tensor,
    labels: Tensor,
    counted: Tensor,
    log_sums: Tensor,
    smoothing: float,
) -> Tensor:
    """(N,) and what `_forward` was given and gave -> (N, V)."""
    from heed.heads.loss_kernels import backward_kernel

    result = torch.empty_like(logits, memory_format=torch.contiguous_format)
    size = logits.shape[1]
    if len(labels):
        tensors = (gradient, logits, labels, counted, log_sums)
        backward_kernel[(len(labels),)](
            *(x.contiguous() for x in tensors),
            *(result, size, smoothing),
            COLUMNS=_columns(size),
            num_warps=WARPS,
        )
    return result


def _columns(size: int) -> int:
    return min(MOST_COLUMNS, 1 << (size - 1).bit_length())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, labels, counted, ctx.smoothing = inputs
    ctx.save_for_backward(logits, labels, counted, output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    found = torch.ops.heed.token_losses_backward(gradient, *ctx.saved_tensors, ctx.smoothing)
    return found, None, None, None


_forward_operator = torch.library.custom_op(
    "heed::token_losses",
    _forward,
    mutates_args=(),
    schema="(Tensor logits, Tensor labels, Tensor counted, float smoothing) -> (Tensor, Tensor)",
)
_backward_operator = torch.library.custom_op(
    "heed::token_losses_backward",
    _backward,
    mutates_args=(),
    schema="(Tensor gradient, Tensor logits, Tensor labels, Tensor counted, Tensor log_sums, "
    "float smoothing) -> Tensor",
)
_forward_operator.register_fake(_empty_results)
_backward_operator.register_fake(
    lambda gradient, logits, *_: torch.empty_like(logits, memory_format=torch.contiguous_format)
)
_forward_operator.register_autograd(_differentiate, setup_context=_keep)
