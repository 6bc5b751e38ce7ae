"""The norms of a compiled training step, by the kernels of `norm_kernels.py`.

What a compiler makes of a norm's backward pass goes over its rows three times: for their gradients,
and for those of gain and bias (docs/notes/speed.md). As an operator it is not looked into.

Legend: N rows, D columns, P programs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from heed.backbone.triton_kernels import runs_triton

WIDEST = 8192
"""Most columns, which a program holds in its registers."""
TILE = 2048
"""Numbers that a program works on at a time, if a row has no more."""
PROGRAMS_EACH = 4
"""Of the backward pass, for each multiprocessor."""
LEVELS = 2**16
"""Random numbers that an element is dropped by."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def can_normalize(*tensors: Tensor) -> bool:
    """Whether the last dimension can be normalised here, of tensors like these or their sum."""
    if any(x.dtype not in DTYPES or x.shape != tensors[0].shape for x in tensors):
        return False
    first = tensors[0]
    return 0 < first.shape[-1] <= WIDEST and runs_triton(first.device.type)


def normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    epsilon: float,
    centered: bool,
    added: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """A layer norm, or an RMS norm if not centered, over the last dimension of x + dropout(added).

    Args:
        x: (..., D).
        weight: (D,), the gain; likewise `bias`.
        epsilon: Added to the variance.
        centered: Whether the mean is subtracted.
        added: (..., D); None: nothing.
        dropout: Probability of dropping an element of `added`, to within 1 of 65,536.

    Returns:
        (..., D) in fp32 under autocast, as of torch's own, or else in the type of the sum.
    """
    full = torch.is_autocast_enabled(x.device.type)
    level = min(round(dropout * LEVELS), LEVELS - 1)
    seed = torch.randint(2**31 - 1, (1,), device=x.device) if level else None
    output, *_ = torch.ops.heed.norm(x, added, weight, bias, seed, level, epsilon, centered, full)
    assert isinstance(output, Tensor)
    return output


class Tiles(NamedTuple):
    """How kernels go over N rows of D columns."""

    width: int
    rows: int
    warps: int

    @classmethod
    def of(cls, columns: int) -> Tiles:
        """Some."""
        width = max(8, 1 << (columns - 1).bit_length())
        rows = max(1, min(8, TILE // width))
        return cls(width, rows, warps=max(1, min(8, rows * width // 512)))

    def constants(self, columns: int, level: int) -> dict[str, Any]:
        """What a kernel is compiled for."""
        sizes = {"COLUMNS": columns, "WIDTH": self.width, "ROWS": self.rows}
        return {**sizes, "DROPPED": level > 0, "num_warps": self.warps}


def _empty_results(
    x: Tensor, added: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_, centered, full = rest
    kind = x.dtype if added is None else torch.promote_types(x.dtype, added.dtype)
    output = x.new_empty(x.shape, dtype=torch.float32 if full else kind)
    total = x.new_empty((0,) if added is None else x.shape, dtype=kind)
    means = x.new_empty(x.shape[:-1] if centered else (0,), dtype=torch.float32)
    return output, total, means, x.new_empty(x.shape[:-1], dtype=torch.float32)


def _forward(
    x: Tensor,
    added: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    seed: Tensor | None,
    level: int,
    epsilon: float,
    centered: bool,
    full: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(..., D) -> (..., D), the sum if anything was added, the mean and the scale of each row."""
    from heed.backbone.norm_kernels import forward_kernel

    results = _empty_results(x, added, centered, full)
    columns = x.shape[-1]
    rows, tiles = x.numel() // columns, Tiles.of(columns)
    if rows:
        given = (x.contiguous(), x if added is None else added.contiguous())
        forward_kernel[(-(-rows // tiles.rows),)](
            *(*given, weight, weight if bias is None else bias, weight if seed is None else seed),
            *(*results, rows, level, _factor(level), epsilon),
            **tiles.constants(columns, level),
            ADDED=added is not None,
            CENTERED=centered,
            BIASED=bias is not None,
        )
    return results


def _empty_gradients(
    gradient: Tensor, total: Tensor, weight: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *_, x_type, added_type = rest
    added_gradient = total.new_empty((0,) if added_type is None else total.shape, dtype=added_type)
    x_gradient = total.new_empty(total.shape, dtype=x_type)
    return x_gradient, added_gradient, weight.new_empty(2, len(weight), dtype=torch.float32)


def _backward(
    gradient: Tensor,
    total: Tensor,
    weight: Tensor,
    means: Tensor,
    scales: Tensor,
    seed: Tensor | None,
    level: int,
    x_type: torch.dtype,
    added_type: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(..., D) and what `_forward` was given and gave -> (..., D) of x and of what was added, and
    (2, D) of gain and bias."""
    from heed.backbone.norm_kernels import backward_kernel, sum_kernel

    x_gradient, added_gradient, sums = _empty_gradients(gradient, total, weight, x_type, added_type)
    columns = total.shape[-1]
    rows, tiles = total.numel() // columns, Tiles.of(columns)
    programs = max(1, min(_programs(total.device), -(-rows // tiles.rows)))
    parts = total.new_empty(2, programs, columns, dtype=torch.float32)
    backward_kernel[(programs,)](
        *(gradient.contiguous(), total.contiguous(), weight, means, scales),
        *(weight if seed is None else seed, x_gradient, added_gradient, parts),
        *(rows, level, _factor(level)),
        **tiles.constants(columns, level),
        ADDED=added_type is not None,
        CENTERED=means.numel() > 0,
    )
    sum_kernel[(-(-columns // 32), 2)](parts, sums, programs, COLUMNS=columns, WIDTH=32, ROWS=64)
    return x_gradient, added_gradient, sums


def _factor(level: int) -> float:
    """Of what is kept, so that its mean stays."""
    return LEVELS / (LEVELS - level)


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return PROGRAMS_EACH
    return PROGRAMS_EACH * torch.cuda.get_device_properties(device).multi_processor_count


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, added, weight, bias, seed, ctx.level, *_ = inputs
    _, total, means, scales = output
    ctx.save_for_backward(x if added is None else total, weight, means, scales, seed)
    ctx.types = (x.dtype, None if added is None else added.dtype)
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.mark_non_differentiable(total, means, scales)


def _differentiate(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Any, ...]:
    total, weight, means, scales, seed = ctx.saved_tensors
    of_x, of_added, sums = torch.ops.heed.norm_backward(
        gradient, total, weight, means, scales, seed, ctx.level, *ctx.types
    )
    of_bias = None if ctx.bias_type is None else sums[1].to(ctx.bias_type)
    of_added = None if ctx.types[1] is None else of_added
    return of_x, of_added, sums[0].to(weight.dtype), of_bias, *(5 * [None])


_forward_operator = torch.library.custom_op(
    "heed::norm",
    _forward,
    mutates_args=(),
    schema="(Tensor x, Tensor? added, Tensor weight, Tensor? bias, Tensor? seed, int level, "
    "float epsilon, bool centered, bool full) -> (Tensor, Tensor, Tensor, Tensor)",
)
_backward_operator = torch.library.custom_op(
    "heed::norm_backward",
    _backward,
    mutates_args=(),
    schema="(Tensor gradient, Tensor total, Tensor weight, Tensor means, Tensor scales, "
    "Tensor? seed, int level, ScalarType x_type, ScalarType? added_type) "
    "-> (Tensor, Tensor, Tensor)",
)
_forward_operator.register_fake(_empty_results)
_backward_operator.register_fake(_empty_gradients)
_forward_operator.register_autograd(_differentiate, setup_context=_keep)
