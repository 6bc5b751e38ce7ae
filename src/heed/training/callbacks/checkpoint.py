"""Which checkpoints are kept: the best by a validation score, the last, and a history on request.

All of them are saved between two optimizer steps, never in the middle of an accumulated one.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from heed.errors import UserError, nearest
from heed.training.callbacks.disk_room import warn_of_little_room
from heed.training.callbacks.saving import (
    FOLDER,
    SaveFailed,
    SavingPolicy,
    checkpoint_io,
    saving,
    settle,
    tell,
    twin,
    validates_now,
    warn_of,
)
from heed.training.checkpoint_io import SUFFIX, clear_leftovers

LAST = f"last{SUFFIX}"
PREVIOUS = f"previous{SUFFIX}"
_HISTORY = re.compile(rf"step=(\d+){re.escape(SUFFIX)}")
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
        self._surplus: list[str] = []
        self._strips = False
        self._step = 0
        self._accumulating = False

    @property
    def files(self) -> int | None:
        return None if self.save_top_k == -1 else self.save_top_k

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = os.fspath(_folder(trainer))
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
        self._surplus = self._let_go_of_surplus()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.validations = 0
        for path in self._surplus:
            trainer.strategy.remove_checkpoint(path)
        self._surplus = []

    def _let_go_of_surplus(self) -> list[str]:
        """Take out of the ranking, and return, what a smaller `save_top_k` than before is past."""
        if not 0 < self.save_top_k < len(self.best_k_models):
            return []
        scores = self.best_k_models
        ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")
        self.best_k_models = {path: scores[path] for path in ranked[: self.save_top_k]}
        self.kth_best_model_path = ranked[self.save_top_k - 1]
        self.kth_value = scores[self.kth_best_model_path]
        return ranked[self.save_top_k :]

    def _place(self, name: str) -> str:
        assert self.dirpath is not None
        return os.path.join(self.dirpath, os.path.basename(name)) if name else ""


class PeriodicCheckpoint(Checkpoint, SavingPolicy):
    """Saves after every so many optimizer steps, and whenever so many minutes have passed.

    Where a validation follows the step, the save comes after it. The first process's clock counts,
    and it is one that nobody sets.
    """

    def __init__(
        self, *, every_n_train_steps: int | None = None, every_n_minutes: float | None = None
    ) -> None:
        self.every_n_train_steps = every_n_train_steps
        self.every_n_minutes = every_n_minutes
        self._clock = 0.0
        self._step = 0
        self._accumulating = False
        self._due = False

    def path(self, trainer: pl.Trainer) -> Path:
        """The file of this moment."""
        raise AssertionError("a policy names its files")  # pragma: no cover

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint of this moment, unless it is there already, and wait for it.

        Raises:
            SaveFailed: If it cannot be written; the one before is still there.
        """
        warn_of(trainer, settle(trainer))
        self._write(trainer)
        failure = settle(trainer)
        if failure is not None:
            raise failure

    def save_or_warn(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint of this moment; if that fails, warn, and try at the next one."""
        try:
            self._write(trainer)
        except SaveFailed as failure:
            warn_of(trainer, failure)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validations = 0
        self.saved = (self.moment(trainer), None)  # so far there is nothing to save
        self._due = False
        self._clock = time.monotonic()

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
        self._due = self._due or self._is_time(trainer)
        if self._due and not validates_now(trainer):
            self.save_or_warn(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.validations += 1
        if self._due and not self._accumulating:
            self.save_or_warn(trainer)

    def _is_time(self, trainer: pl.Trainer) -> bool:
        every = self.every_n_train_steps
        if every is not None and trainer.global_step % every == 0:
            return True
        if self.every_n_minutes is None:
            return False
        passed = time.monotonic() - self._clock >= 60.0 * self.every_n_minutes
        return trainer.strategy.broadcast(passed)

    def _write(self, trainer: pl.Trainer) -> None:
        self._due = False
        self._clock = time.monotonic()
        moment, path = self.moment(trainer), self.path(trainer)
        if self.saved is not None and self.saved[0] == moment:
            return
        io, same = checkpoint_io(trainer), twin(trainer, moment)
        if io is None or same is None:
            warn_of(trainer, settle(trainer))
            with saving(trainer):
                trainer.save_checkpoint(path, weights_only=False)
        else:
            with saving(trainer):
                if trainer.is_global_zero:
                    io.link(same, path)
                trainer.strategy.barrier("Trainer.save_checkpoint")
        self.saved = (moment, path)


class LastCheckpoint(PeriodicCheckpoint):
    """Keeps `last.ckpt`, from which a run goes on.

    It is written after every validation and at the end of training, and in between as often as
    `every_n_train_steps` or `every_n_minutes` says; with both, at either occasion. There are two
    files at most, three while one is written. A best checkpoint of the same moment is not written
    twice: the file has two names.

    Args:
        every_n_train_steps: Also after every so many optimizer steps.
        every_n_minutes: Also when so many minutes have passed.
        keep_previous: Whether the last but one stays as `previous.ckpt`, for when the last turns
            out to be broken.
    """

    def __init__(
        self,
        *,
        every_n_train_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep_previous: bool = True,
    ) -> None:
        super().__init__(every_n_train_steps=every_n_train_steps, every_n_minutes=every_n_minutes)
        self.keep_previous = keep_previous

    @property
    def files(self) -> int | None:
        return 2 if self.keep_previous else 1

    def path(self, trainer: pl.Trainer) -> Path:
        return _folder(trainer) / LAST

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # what may be changed when a run goes on includes its callbacks
        warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`, callbacks used")
        if stage == "fit" and trainer.is_global_zero:
            clear_leftovers(_folder(trainer))
        io = checkpoint_io(trainer)
        if io is not None and self.keep_previous:
            io.previous[self.path(trainer)] = _folder(trainer) / PREVIOUS

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            warn_of_little_room(trainer, _folder(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._due = True
        super().on_validation_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)


class HistoryCheckpoint(PeriodicCheckpoint):
    """Keeps the newest `keep` checkpoints of a regular series, each named by its step.

    A file is named `step=000500.ckpt`; `last.ckpt` is brought up to date with it, as another name
    of the same file. While a new one is written there is one file more.

    Args:
        every_n_train_steps: After every so many optimizer steps.
        every_n_minutes: When so many minutes have passed.
        keep: How many to keep; -1 keeps all.
    """

    def __init__(
        self,
        *,
        every_n_train_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep: int = 3,
    ) -> None:
        super().__init__(every_n_train_steps=every_n_train_steps, every_n_minutes=every_n_minutes)
        self.keep = keep

    @property
    def files(self) -> int | None:
        return None if self.keep == -1 else self.keep

    def path(self, trainer: pl.Trainer) -> Path:
        return _folder(trainer) / f"step={trainer.global_step:06d}{SUFFIX}"

    def _write(self, trainer: pl.Trainer) -> None:
        super()._write(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.save_or_warn(trainer)
        if self.keep == -1 or not trainer.is_global_zero:
            return
        found = {int(name[1]): path for path, name in _history(_folder(trainer))}
        # steps after this one are of a training that was lost, and come again
        kept = sorted(step for step in {*found, trainer.global_step} if step <= trainer.global_step)
        for step in found.keys() - set(kept[-self.keep :]):
            trainer.strategy.remove_checkpoint(found[step])


def history(
    *,
    every_n_train_steps: int | None = None,
    every_n_minutes: float | None = None,
    keep: int = 3,
) -> HistoryCheckpoint | None:
    """The callback, or None where neither steps nor minutes are given."""
    if every_n_train_steps is None and every_n_minutes is None:
        return None
    return HistoryCheckpoint(
        every_n_train_steps=every_n_train_steps, every_n_minutes=every_n_minutes, keep=keep
    )


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


def _folder(trainer: pl.Trainer) -> Path:
    return Path(os.path.abspath(trainer.default_root_dir)) / FOLDER


def _history(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """The files of a history, with the match of their names."""
    matches = [(path, _HISTORY.fullmatch(path.name)) for path in folder.glob(f"*{SUFFIX}")]
    return [(path, match) for path, match in matches if match is not None]
