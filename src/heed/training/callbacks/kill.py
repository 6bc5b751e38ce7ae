"""Dying on purpose, to see whether a run can be resumed."""

from __future__ import annotations

import os
import signal
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class Kill(Callback):
    """Ends a process at once (SIGKILL), in the middle of a training batch.

    Args:
        batch: In which micro-batch of this sitting, counted from 1.
        rank: Which process.
    """

    def __init__(self, *, batch: int, rank: int = 0) -> None:
        self.batch = batch
        self.rank = rank
        self._begun = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._begun += 1

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        if self._begun == self.batch and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)
