"""Where a training is in Lightning's loops, and how it goes on from the edges of an epoch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.evaluation_loop import RestartStage as ValidationRestart
from lightning.pytorch.loops.training_epoch_loop import RestartStage as EpochRestart

KEY = "validation_due"
_COUNTS = "epoch_loop.val_loop.batch_progress"


class LoopPlace:
    """Lets a run go on rightly from an epoch's last batch, and from within a validation.

    Attributes:
        validation_due: Whether the checkpoint that a run goes on from was saved within a
            validation, which has to be made first.
    """

    def __init__(self) -> None:
        self.validation_due = False
        self._left_epoch = False
        self._before_validation: dict[str, Any] | None = None

    def begin_validation(self, trainer: pl.Trainer) -> None:
        """From here on checkpoints are from within a validation."""
        self._before_validation = trainer.fit_loop.state_dict()[_COUNTS]

    def end_validation(self) -> None:
        """From here on they are not."""
        self._before_validation = None
        self.validation_due = False

    def mark(self, checkpoint: dict[str, Any]) -> None:
        """Write into a checkpoint that a validation is due, as if it had not begun."""
        if self._before_validation is not None:
            checkpoint[KEY] = True
            checkpoint["loops"]["fit_loop"][_COUNTS] = self._before_validation

    def take_up(self, checkpoint: dict[str, Any]) -> None:
        """Read it."""
        self.validation_due = bool(checkpoint.get(KEY, False))

    def go_on(self, trainer: pl.Trainer) -> None:
        """Let Lightning's loops begin in the right place; to be called when a training starts."""
        self._before_validation = None
        if self.validation_due:
            validation = trainer.fit_loop.epoch_loop.val_loop
            validation.restarting = False
            validation._restart_stage = ValidationRestart.RESTARTED_MID_EVALUATION
        else:
            self._leave_finished_epoch(trainer)

    def _leave_finished_epoch(self, trainer: pl.Trainer) -> None:
        """Go on with the end of an epoch where the checkpoint is of the epoch's last batch.

        Lightning does so where a validation was due at that batch. Otherwise it would train one
        batch more in that epoch (if the batch had been counted, as when `max_steps` was reached),
        or leave the epoch's end and the next one's beginning out (if it had not).
        """
        fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        current: Any = loop.batch_progress.current
        fetcher = fit._data_fetcher
        assert fetcher is not None
        if not loop.restarting or current.processed < trainer.num_training_batches:
            return
        if loop._should_check_val_fx(fetcher):
            return
        if current.completed < current.processed:
            loop.batch_progress.increment_completed()
            loop._restart_stage = EpochRestart.RESTARTED_ON_LAST
            counts: tuple[Any, ...] = (fit.epoch_progress.total, fit.epoch_progress.current)
            for progress in counts:
                progress.processed -= 1  # Lightning has just counted it; the epoch's end will
                progress.completed -= 1
        loop.val_loop._has_run = True  # nothing is left to be done in this epoch
        loop._batches_that_stepped += 1  # as after the validation
        self._left_epoch = True

    def end_epoch(self, trainer: pl.Trainer) -> None:
        """Let the epoch after one that was left so begin as any other."""
        if self._left_epoch:
            trainer.fit_loop.epoch_loop.restarting = False
            self._left_epoch = False


def can_stop_validating(trainer: pl.Trainer) -> bool:
    """Whether a run that is stopped within this validation would come to it again.

    It would not where training has reached its end, nor where a clock called for the validation.
    """
    ends = trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step
    by_clock = getattr(trainer, "_val_check_time_interval", None) is not None
    return not ends and not by_clock
