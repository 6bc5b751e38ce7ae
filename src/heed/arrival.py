"""Numbers that come from a device while the host does something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Arrival:
    """Tensors on their way to the host, which is not kept waiting until it asks for them.

    Args:
        tensors: On one device; they may change as soon as this is made.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.event: torch.cuda.Event | None = None
        if tensors[0].is_cuda:
            self.tensors = [torch.empty_like(x, device="cpu", pin_memory=True) for x in tensors]
            for own, given in zip(self.tensors, tensors, strict=True):
                own.copy_(given, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()
        else:
            self.tensors = [x.clone() for x in tensors]

    def lists(self) -> list[Any]:
        """What has arrived, as lists."""
        if self.event is not None:
            self.event.synchronize()
        return [x.tolist() for x in self.tensors]
