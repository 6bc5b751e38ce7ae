"""Stopping when the validation score has stopped getting better."""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from heed.errors import UserError
from heed.training.callbacks.checkpoint import check_monitor


class EarlyStopping(LightningEarlyStopping):
    """Stops training after `patience` validations in a row without a better score.

    Args:
        monitor: The validation score, for instance "val/bleu".
        mode: Whether that score is better when larger ("max") or smaller ("min").
        patience: Validations without improvement before training stops; at least 1.
        min_delta: The smallest change that counts as better.

    Raises:
        UserError: If `patience` is less than 1.
    """

    def __init__(
        self, *, monitor: str, mode: Literal["min", "max"], patience: int, min_delta: float = 0.0
    ) -> None:
        if patience < 1:
            raise UserError(
                f"callbacks.early_stopping.patience must be at least 1, but is {patience}",
                "null turns early stopping off",
            )
        super().__init__(
            monitor=monitor,
            mode=mode,
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=False,
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            check_monitor(trainer, self.monitor)
        super().on_validation_end(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A run that had stopped before it was killed, in its test perhaps, does not train on."""
        state = checkpoint.get("callbacks", {}).get(self.state_key, {})
        if trainer.state.fn == "fit" and state.get("wait_count", 0) >= self.patience:
            trainer.should_stop = True


def early_stopping(
    *,
    monitor: str,
    mode: Literal["min", "max"],
    patience: int | None = None,
    min_delta: float = 0.0,
) -> EarlyStopping | None:
    """The callback, or None where `patience` is None and training is not to stop early."""
    if patience is None:
        return None
    return EarlyStopping(monitor=monitor, mode=mode, patience=patience, min_delta=min_delta)
