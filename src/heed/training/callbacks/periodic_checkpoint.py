"""Checkpoints in the course of time: the last, and a history on request.

They are saved between two optimizer steps, never in the middle of an accumulated one.
"""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from heed.training.callbacks.disk_room import warn_of_little_room
from heed.training.callbacks.saving import (
    SaveFailed,
    SavingPolicy,
    checkpoint_folder,
    checkpoint_io,
    saving,
    settle,
    twin,
    validates_now,
    validation_is_due,
    warn_of,
)
from heed.training.checkpoint_io import SUFFIX, clear_leftovers

LAST = f"last{SUFFIX}"
PREVIOUS = f"previous{SUFFIX}"
_HISTORY = re.compile(rf"step=(\d+){re.escape(SUFFIX)}")


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
        self._clock = time.monotonic()
        # a save may be waiting for a validation that was not ended
        self._due = validation_is_due(trainer) and self._is_time(trainer)

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
        return checkpoint_folder(trainer) / LAST

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # what may be changed when a run goes on includes its callbacks
        warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`, callbacks used")
        if stage == "fit" and trainer.is_global_zero:
            clear_leftovers(checkpoint_folder(trainer))
        io = checkpoint_io(trainer)
        if io is not None and self.keep_previous:
            io.previous[self.path(trainer)] = checkpoint_folder(trainer) / PREVIOUS

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            warn_of_little_room(trainer, checkpoint_folder(trainer))

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
        return checkpoint_folder(trainer) / f"step={trainer.global_step:06d}{SUFFIX}"

    def _write(self, trainer: pl.Trainer) -> None:
        super()._write(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.save_or_warn(trainer)
        if self.keep == -1 or not trainer.is_global_zero:
            return
        found = {int(name[1]): path for path, name in _history(checkpoint_folder(trainer))}
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


def _history(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """The files of a history, with the match of their names."""
    matches = [(path, _HISTORY.fullmatch(path.name)) for path in folder.glob(f"*{SUFFIX}")]
    return [(path, match) for path, match in matches if match is not None]
