"""Which checkpoints are kept: the best by a validation score, and the last."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from heed.errors import UserError, nearest

FOLDER = "checkpoints"
LAST = "last"


class _RunCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint in `<run folder>/checkpoints` whose state names files, not places.

    So a run folder can be moved, and a checkpoint names no folder of its maker's machine.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = os.path.join(os.path.abspath(trainer.default_root_dir), FOLDER)
        with warnings.catch_warnings():
            # a resumed run finds its own checkpoints there
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["dirpath"] = None
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = os.path.basename(state[key])
        state["best_k_models"] = {
            os.path.basename(path): score for path, score in state["best_k_models"].items()
        }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None, "setup comes first"
        state = dict(state_dict, dirpath=self.dirpath)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = self._place(state[key])
        state["best_k_models"] = {
            self._place(name): score for name, score in state["best_k_models"].items()
        }
        super().load_state_dict(state)

    def _place(self, name: str) -> str:
        assert self.dirpath is not None
        return os.path.join(self.dirpath, os.path.basename(name)) if name else ""


class BestCheckpoint(_RunCheckpoint):
    """Keeps the `save_top_k` checkpoints with the best validation score.

    A file is named by its step and score, such as `step=000500-val_bleu=12.3.ckpt`, and is written
    after the validation that it is the result of.

    Args:
        monitor: The validation score, for instance "val/bleu".
        mode: Whether that score is better when larger ("max") or smaller ("min").
        save_top_k: How many to keep; 0 keeps none, -1 all.
        save_weights_only: Whether to leave out what only resuming needs.
    """

    def __init__(
        self,
        *,
        monitor: str,
        mode: Literal["min", "max"],
        save_top_k: int = 1,
        save_weights_only: bool = False,
    ) -> None:
        label = monitor.replace("/", "_")
        super().__init__(
            filename=f"step={{step:06d}}-{label}={{{monitor}:.4g}}",
            auto_insert_metric_name=False,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            save_weights_only=save_weights_only,
            save_on_train_epoch_end=False,
        )
        self.best_scores: dict[str, float] = {}  # all validation scores of the best checkpoint

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            check_monitor(trainer, str(self.monitor))
        super().on_validation_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        if filepath == self.best_model_path:
            self.best_scores = {
                name: float(score)
                for name, score in trainer.callback_metrics.items()
                if name.startswith("val/")
            }
        super()._save_checkpoint(trainer, filepath)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_scores": dict(self.best_scores)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_scores = dict(state_dict.get("best_scores", {}))
        super().load_state_dict(state_dict)


class LastCheckpoint(_RunCheckpoint):
    """Keeps `last.ckpt`, from which a run goes on.

    It is written after every validation and at the end of training, and in between as often as
    `every_n_train_steps` or `every_n_minutes` says.

    Args:
        every_n_train_steps: Also after every so many optimizer steps.
        every_n_minutes: Also when so many minutes have passed.
    """

    def __init__(
        self, *, every_n_train_steps: int | None = None, every_n_minutes: float | None = None
    ) -> None:
        if every_n_train_steps is not None and every_n_minutes is not None:
            raise UserError(
                "callbacks.last must save by steps or by minutes, but both are given",
                "leave out callbacks.last.every_n_train_steps or callbacks.last.every_n_minutes",
            )
        interval = None if every_n_minutes is None else timedelta(minutes=every_n_minutes)
        super().__init__(
            filename=LAST,
            save_top_k=1,
            enable_version_counter=False,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=interval,
            save_on_train_epoch_end=False,
        )

        self._step = 0
        self._accumulating = False
        self._due = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._accumulating = trainer.global_step == self._step
        if self._accumulating:
            return  # gradients are not saved: the step has to be made first
        if self._due:
            self.save(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._accumulating:
            self._due = True
        else:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt` now, unless this step's is there already."""
        self._due = False
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))


def check_monitor(trainer: pl.Trainer, monitor: str) -> None:
    """Refuse a score to watch that no validation has logged.

    Raises:
        UserError: With the nearest score that there is.
    """
    logged = [name for name in trainer.callback_metrics if name.startswith("val/")]
    if monitor not in trainer.callback_metrics:
        raise UserError(
            f"task.monitor must be a score that validation logs, but is {monitor!r}",
            nearest(monitor, logged),
        )


def best_checkpoint(trainer: pl.Trainer) -> Path | None:
    """The best checkpoint of a finished training, or else the last, or else None."""
    kinds = (BestCheckpoint, LastCheckpoint)
    for kind in kinds:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, kind) and callback.best_model_path:
                path = Path(callback.best_model_path)
                if path.is_file():
                    return path
    return None
