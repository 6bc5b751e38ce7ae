"""The log line of training, written before a checkpoint of the same step."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

BAR = "train/loss"
"""What a progress bar shows of a training."""


class StepMetrics(Callback):
    """Every `log_every_n_steps` optimizer steps, one row of what has been measured since the last.

    The row is what `step_metrics()` of the module and of the callbacks before this one say; its
    step is the number of optimizer steps that are done. Lightning would hand a row to the loggers
    after the callbacks of a step, and so after a checkpoint, which then knew nothing of it.
    """

    def __init__(self) -> None:
        self._logged = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._logged = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        if step == self._logged or step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        self._logged = step
        metrics: dict[str, float | Tensor] = {}
        for part in (pl_module, *trainer.callbacks):  # type: ignore[attr-defined]
            if hasattr(part, "step_metrics"):
                metrics |= part.step_metrics()
        for name, value in metrics.items():
            if name == BAR:  # dear: Lightning inspects signatures
                pl_module.log(name, value, prog_bar=True, logger=False)
        row = {name: float(value) for name, value in metrics.items()}
        for logger in trainer.loggers:
            logger.log_metrics({**row, "epoch": trainer.current_epoch}, step=step)
            logger.save()
