"""The best checkpoints by a validation score, and which checkpoint of a training counts."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from heed.errors import UserError, nearest
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint
from heed.training.callbacks.saving import (
    SaveFailed,
    SavingPolicy,
    checkpoint_folder,
    checkpoint_io,
    saving,
    settle,
    tell,
    warn_of,
)
from heed.training.checkpoint_io import SUFFIX

# What a checkpoint to evaluate holds.
_WEIGHTS = ("state_dict", "epoch", "global_step", "pytorch-lightning_version")
# What a failed save changes of a `ModelCheckpoint`.
_RANKING = (
    *("best_k_models", "kth_best_model_path", "kth_value", "best_model_path", "best_model_score"),
    *("current_score", "best_scores", "_last_global_step_saved", "_last_checkpoint_saved"),
)


class BestCheckpoint(ModelCheckpoint, SavingPolicy):
    """Keeps the `save_top_k` checkpoints with the best validation score.

    A file is named by its step and score, such as `step=000500-val_bleu=12.3.ckpt`, and is written
    after the validation that it is the result of. After a validation in the middle of an
    accumulated step it holds weights only. While a new one is written there is one file more.

    Its state names files, not places, so that a run folder can be moved, and a checkpoint names no
    folder of its maker's machine.

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
            save_on_train_epoch_end=False,
            enable_version_counter=False,  # a step that comes again after a kill has its old name
        )
        self.weights_only = save_weights_only
        self.best_scores: dict[str, float] = {}  # all validation scores of the best checkpoint
        self._before: dict[str, Any] | None = None  # the ranking before a save in the background
        self._knows_its_files = False
        self._strips = False
        self._step = 0
        self._accumulating = False

    @property
    def files(self) -> int | None:
        return None if self.save_top_k == -1 else self.save_top_k

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = os.fspath(checkpoint_folder(trainer))
        with warnings.catch_warnings():
            # a resumed run finds its own checkpoints there
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self.validations += 1
            check_monitor(trainer, str(self.monitor))
            warn_of(trainer, settle(trainer))
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._clear_strays(trainer)

    def _update_best_and_save(
        self, current: Tensor, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        ranking = {name: getattr(self, name) for name in _RANKING}
        ranking["best_k_models"] = dict(self.best_k_models)
        self._before = ranking
        try:
            super()._update_best_and_save(current, trainer, monitor_candidates)
        except SaveFailed as failure:
            self.settled(failed=True)
            warn_of(trainer, failure)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        if filepath == self.best_model_path:
            self.best_scores = {
                name: float(score)
                for name, score in trainer.callback_metrics.items()
                if name.startswith("val/")
            }
        self._strips = self.weights_only or self._accumulating
        try:
            with saving(trainer):
                super()._save_checkpoint(trainer, filepath)
        finally:
            stripped, self._strips = self._strips, False
        self.saved = (self.moment(trainer), None if stripped else Path(filepath))

    def settled(self, *, failed: bool) -> None:
        """After a failed save the ranking is what it was, for its file is not there."""
        super().settled(failed=failed)
        if failed and self._before is not None:
            vars(self).update(self._before)
        self._before = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave out what only resuming needs, here where averaged weights have been put in."""
        if self._strips:
            for key in [key for key in checkpoint if key not in _WEIGHTS]:
                del checkpoint[key]

    def state_dict(self) -> dict[str, Any]:
        state = {**super().state_dict(), "best_scores": dict(self.best_scores), "dirpath": None}
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
        self.current_score = state.get("current_score")  # which Lightning saves and does not load
        self.best_scores = dict(state.get("best_scores", {}))
        self._let_go_of_surplus()
        self._knows_its_files = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.validations = 0
        self._clear_strays(trainer)

    def _clear_strays(self, trainer: pl.Trainer) -> None:
        """Delete files of its own that the ranking does not know.

        A process that was killed after it had saved a better one leaves them, and so does a smaller
        `save_top_k` than before. Those of steps to come stay: they are about to be made again.
        """
        if not self._knows_its_files or self.save_top_k == 0 or not trainer.is_global_zero:
            return
        label = re.escape(str(self.monitor).replace("/", "_"))
        own = re.compile(rf"step=(\d+)-{label}=[^=]*{re.escape(SUFFIX)}")
        for path in checkpoint_folder(trainer).glob(f"*{SUFFIX}"):
            name = own.fullmatch(path.name)
            known = os.fspath(path) in self.best_k_models
            if name is not None and not known and int(name[1]) <= trainer.global_step:
                trainer.strategy.remove_checkpoint(path)

    def _let_go_of_surplus(self) -> None:
        """Take out of the ranking what a smaller `save_top_k` than before is past."""
        if not 0 < self.save_top_k < len(self.best_k_models):
            return
        scores = self.best_k_models
        ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")
        self.best_k_models = {path: scores[path] for path in ranked[: self.save_top_k]}
        self.kth_best_model_path = ranked[self.save_top_k - 1]
        self.kth_value = scores[self.kth_best_model_path]

    def _place(self, name: str) -> str:
        assert self.dirpath is not None
        return os.path.join(self.dirpath, os.path.basename(name)) if name else ""


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
    """The best checkpoint of a finished training, or else the last, or else None.

    What is still being written is waited for. Each process may ask alone.
    """
    io = checkpoint_io(trainer)
    failure = None if io is None else io.wait()
    if failure is not None:
        tell(f"warning: {failure}")
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = [Path(c.best_model_path) for c in callbacks if _has_best(c)]
    found += [c.path(trainer) for c in callbacks if isinstance(c, LastCheckpoint)]
    return next((path for path in found if path.exists()), None)


def _has_best(callback: Any) -> bool:
    return isinstance(callback, BestCheckpoint) and bool(callback.best_model_path)
