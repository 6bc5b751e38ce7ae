"""An export against the model that it came from.

Legend: B rows, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from heed.errors import RunFailed
from heed.tasks.base import Task


@torch.no_grad()
def outputs(task: Task, batch: Any) -> list[Tensor]:
    """What a task computes for a batch before any decision: logits, or else its loss, in fp32.

    Minus infinity, where nothing can be, becomes 0, so that two of them can be subtracted.
    """
    logits: Any = getattr(task, "logits", None)
    if logits is not None:
        found = logits(batch)
        tensors = list(found) if isinstance(found, tuple) else [found]
    else:
        tensors = [task.loss(batch).sum]
    return [tensor.float().masked_fill(tensor.isinf(), 0.0) for tensor in tensors]


def difference(ours: Iterable[Sequence[Tensor]], theirs: Iterable[Sequence[Tensor]]) -> float:
    """The largest difference between two lists of outputs; NaN if either has a NaN."""
    largest = 0.0
    for our, their in zip(ours, theirs, strict=True):
        for a, b in zip(our, their, strict=True):
            assert a.shape == b.shape, f"{tuple(a.shape)} against {tuple(b.shape)}"
            if a.numel():
                found = relative(a, b)
                largest = found if found != found or found > largest else largest
    return largest


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest |a - b| / max(1, |a|): absolute for small numbers, relative for large ones."""
    a, b = ours.double(), theirs.double()
    return float(((a - b).abs() / a.abs().clamp(min=1.0)).max())


def require_close(found: float, tolerance: float, *, what: str) -> None:
    """Refuse an export that does not compute what its model does.

    Raises:
        RunFailed: If the difference exceeds the tolerance, or is no number.
    """
    if not found <= tolerance:
        raise RunFailed(
            f"{what} must compute what the model does, but differs by {found:.2e} "
            f"(tolerance {tolerance:.2e}); nothing was written",
            "tolerance=NUMBER accepts more; format=safetensors keeps the model as it is",
            cause="export differs",
        )
