"""A linear layer and its ReLU in one product, in a compiled training step on a GPU.

cuBLAS can bend what it has multiplied before it is written; a compiler that sees the two apart
writes it, reads it and writes it again.

Legend: D inputs, F outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FUSED: Any = getattr(torch, "_addmm_activation", None)
"""Of torch's own, under a name that may change."""


def has_linear_relu(linear: nn.Module, x: Tensor) -> bool:
    """Whether this layer and a ReLU can be computed as one here."""
    plain = type(linear) is nn.Linear and linear.bias is not None and not linear._forward_hooks
    return plain and FUSED is not None and x.device.type == "cuda"


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`relu(x @ weight.T + bias)`: (..., D), (F, D), (F,) -> (..., F), in the type of autocast."""
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
    found = torch.ops.heed.linear_relu(x.flatten(0, -2).to(dtype), weight.to(dtype), bias.to(dtype))
    assert isinstance(found, Tensor)
    return found.unflatten(0, x.shape[:-1])


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, D), (F, D), (F,) -> (N, F)."""
    found = FUSED(bias, x, weight.t())
    assert isinstance(found, Tensor)
    return found


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, output = ctx.saved_tensors
    inner = torch.where(output > 0, gradient, 0.0)  # (N, F)
    return inner @ weight, inner.T @ x, inner.sum(0)


_operator = torch.library.custom_op(
    "heed::linear_relu",
    _forward,
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor bias) -> Tensor",
)
_operator.register_fake(lambda x, weight, _: x.new_empty(x.shape[0], weight.shape[0]))
_operator.register_autograd(_differentiate, setup_context=_keep)
