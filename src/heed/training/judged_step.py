"""What a guard of steps is told of one, and how long it may wait for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from heed.training.faults import SeenBatch

LATE = ("cuda",)
"""Devices whose numbers are read a step late: to wait for them would leave the device idle until
the host has started the optimizer and the next forward pass."""
LATE_STRATEGIES = ("SingleDeviceStrategy", "DDPStrategy")


class JudgedStep(NamedTuple):
    """A step, and what is kept should it be at fault.

    Attributes:
        number: From 1.
        batches: Its micro-batches.
        losses: () of each.
    """

    number: int
    batches: list[SeenBatch]
    losses: list[Tensor]


def leaves_out_steps(trainer: pl.Trainer, device: torch.device) -> bool:
    """Whether the optimizer itself can leave out a step that is not finite, as fused AdamW does for
    a loss scaler, so that the host may be told later."""
    if device.type not in LATE or type(trainer.strategy).__name__ not in LATE_STRATEGIES:
        return False
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return False
    (optimizer,) = trainer.optimizers
    return type(optimizer) is torch.optim.AdamW and bool(optimizer.defaults.get("fused"))


def leave_out_if(optimizer: Any, faulty: Tensor | None) -> None:
    """Have the coming steps of fused AdamW change nothing where `faulty`, a () bool, is true; None:
    all are made."""
    if faulty is not None:
        optimizer.found_inf = faulty.float()
    elif hasattr(optimizer, "found_inf"):
        del optimizer.found_inf
