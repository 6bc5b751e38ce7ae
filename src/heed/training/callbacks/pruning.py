"""Stopping a run of a search that is not worth going on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from heed.training.callbacks.checkpoint import check_monitor
from heed.training.mailbox import Mailbox, Report

KEY = "pruning"
PATIENCE_SECONDS = 60.0  # a searcher that takes longer is busy, or its machine is gone


class Pruning(Callback):
    """Reports the validation score to whoever searches, with the tokens seen, and stops if told to.

    The training then ends as it does at any other bound: the best and the last checkpoint are kept.
    Where nobody searches, as when the run is gone on with by hand, it does nothing.

    Args:
        monitor: The validation score.

    Attributes:
        reason: Why the run was stopped; None if it was not.
    """

    def __init__(self, *, monitor: str) -> None:
        self.monitor = monitor
        self.reason: str | None = None
        self._tokens = 0  # of all processes
        self._since: int | Tensor = 0  # of this process, not yet counted in
        self._reports = 0
        self._device = torch.device("cpu")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._device = pl_module.device

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._since = self._since + batch.real_tokens

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        check_monitor(trainer, self.monitor)
        self._count(trainer)
        told: str | None = None
        if trainer.is_global_zero:
            mailbox = Mailbox(Path(trainer.default_root_dir))
            if mailbox.is_open:
                value = float(trainer.callback_metrics[self.monitor])
                report = Report(self._reports, self._tokens, value)
                told = mailbox.ask(report, patience=PATIENCE_SECONDS)
        self._reports += 1
        self.reason = trainer.strategy.broadcast(told)
        if self.reason is not None:
            trainer.should_stop = True

    def _count(self, trainer: pl.Trainer) -> None:
        since = int(self._since)
        if trainer.world_size > 1 and dist.is_initialized():
            total = torch.tensor(since, device=self._device)
            dist.all_reduce(total)
            since = int(total)
        self._tokens, self._since = self._tokens + since, 0

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._count(trainer)
        checkpoint[KEY] = {"tokens": self._tokens, "reports": self._reports}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit" and KEY in checkpoint:
            self._tokens = checkpoint[KEY]["tokens"]
            self._reports = checkpoint[KEY]["reports"]
            self._since = 0


def pruned(trainer: pl.Trainer) -> str | None:
    """Why a training was stopped by the search around it; None if it was not."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c.reason for c in callbacks if isinstance(c, Pruning) and c.reason), None)
