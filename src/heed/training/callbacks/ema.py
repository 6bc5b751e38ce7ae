"""The exponential moving average of the weights (Polyak & Juditsky 1992, in its decaying form)."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from heed.errors import UserError


class ExponentialMovingAverage(WeightAveraging):
    """Validates, saves and ends with averaged weights while training goes on with its own.

    After each optimizer step, average = d * average + (1 - d) * weights with
    d = min(decay, (1 + t) / (10 + t)) after t updates, so that early averages do not hang on to the
    random start. Checkpoints hold the average as `state_dict`, and the weights in training beside
    it, so that a run can go on exactly.

    Args:
        decay: What the average keeps at each step, between 0 and 1.
        every_n_steps: Optimizer steps between updates.

    Raises:
        UserError: If `decay` is not between 0 and 1, or `every_n_steps` less than 1.
    """

    def __init__(self, *, decay: float = 0.999, every_n_steps: int = 1) -> None:
        if not 0.0 < decay < 1.0:
            raise UserError(
                f"callbacks.ema.decay must be between 0 and 1, but is {decay}",
                "try callbacks.ema.decay=0.999",
            )
        if every_n_steps < 1:
            raise UserError(
                f"callbacks.ema.every_n_steps must be at least 1, but is {every_n_steps}"
            )
        super().__init__(use_buffers=False, avg_fn=self._average)
        self.decay = decay
        self.every_n_steps = every_n_steps
        self._swapped = False

    def _average(self, average: Tensor, weights: Tensor, updates: Tensor | int) -> Tensor:
        done = int(updates)
        return average.lerp(weights, 1.0 - min(self.decay, (1 + done) / (10 + done)))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average takes up the weights after this optimizer step."""
        return step_idx is not None and (step_idx + 1) % self.every_n_steps == 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)
            self._swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._swapped:
            super().on_validation_epoch_end(trainer, pl_module)
            self._swapped = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing yet: the last checkpoint, saved at this moment, needs the weights in training."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the model."""
        self._copy_average_to_current(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert not self._swapped, "a checkpoint in the middle of a validation would mix the weights"
        if trainer.state.fn == "fit":
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore both sets of weights to train on; to evaluate, the average is what counts."""
        if trainer.state.fn != "fit":
            return
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            return
        assert self._average_model is not None
        with torch.no_grad():  # a checkpoint without an average: it starts from the weights
            self._average_model.module.load_state_dict(checkpoint["state_dict"])


def ema(*, decay: float | None = None, every_n_steps: int = 1) -> ExponentialMovingAverage | None:
    """The callback, or None where `decay` is None and weights are not averaged."""
    if decay is None:
        return None
    return ExponentialMovingAverage(decay=decay, every_n_steps=every_n_steps)
