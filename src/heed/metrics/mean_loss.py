"""The mean of a loss over everything it was counted on, on any number of processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanLoss(Metric):
    """Sum of losses over sum of counts; 0 before the first update."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Apple's GPUs have no float64.
        dtype = torch.float32 if torch.backends.mps.is_available() else torch.float64
        self.add_state("total", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, total: Tensor, count: Tensor) -> None:
        """Add a summed loss and the count it is a sum over, both of shape ()."""
        self.total += total.detach()
        self.count += count.detach()

    def compute(self) -> Tensor:
        """() the mean."""
        return self.total / self.count.clamp(min=1)
