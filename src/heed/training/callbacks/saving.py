"""What every policy of saving shares: when a step is whole, and what becomes of a failed save."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from heed.files import WritingError
from heed.training.callbacks.exact_state import ExactState
from heed.training.checkpoint_io import AtomicCheckpointIO

FOLDER = "checkpoints"


class SaveFailed(WritingError):
    """A checkpoint that could not be written; what had its name before is still there."""


@dataclass(frozen=True)
class Moment:
    """A point in a training: two checkpoints of one moment have the same content.

    Args:
        step: Optimizer steps done.
        validations: Validations that have ended in this sitting.
    """

    step: int
    validations: int


class SavingPolicy:
    """What a callback that saves remembers of its last save.

    Attributes:
        validations: Validations that have ended since training began.
        saved: The moment of the last save, and its file where it holds all that a training needs to
            go on; None if there was no save, or it failed.
        weights_only: Whether its files hold no more than weights.
    """

    validations = 0
    saved: tuple[Moment, Path | None] | None = None
    weights_only = False

    @property
    def files(self) -> int | None:
        """How many files it keeps at most; None without a bound."""
        raise AssertionError("a policy knows its bound")  # pragma: no cover

    def moment(self, trainer: pl.Trainer) -> Moment:
        """Where training is now."""
        return Moment(trainer.global_step, self.validations)

    def settled(self, *, failed: bool) -> None:
        """Hear whether what was being written is on disk."""
        if failed:
            self.saved = None


@contextlib.contextmanager
def saving(trainer: pl.Trainer) -> Iterator[None]:
    """Let all processes agree on whether the save in the block has failed.

    A process that fails misses the barrier at the end of `trainer.save_checkpoint`, where the
    others wait for it; it is made up for here.

    Raises:
        SaveFailed: In every process, if one could not write.
    """
    failure: Exception | None = None
    try:
        yield
    except (WritingError, OSError) as error:
        failure = error
        trainer.strategy.barrier("Trainer.save_checkpoint")
    _raise_together(trainer, failure)


def settle(trainer: pl.Trainer) -> SaveFailed | None:
    """Wait until what is being written in the background is on disk; all processes take part.

    Returns:
        The failure, if it could not be written. Every policy has heard of it.
    """
    io = checkpoint_io(trainer)
    if io is None or not io.asynchronous:
        return None
    try:
        _raise_together(trainer, io.wait())
    except SaveFailed as error:
        failure: SaveFailed | None = error
    else:
        failure = None
    for policy in policies(trainer):
        policy.settled(failed=failure is not None)
    return failure


def warn_of(trainer: pl.Trainer, failure: SaveFailed | None) -> None:
    """Say on stderr that a save has failed, and that training goes on."""
    if failure is not None and trainer.is_global_zero:
        remedy = f"; {failure.remedy}" if failure.remedy else ""
        tell(
            f"warning: {failure.problem}{remedy}. Training goes on, and saves again at the next "
            "occasion."
        )


def tell(text: str) -> None:
    """Print to stderr, unless that too goes to a file on the full disk."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def twin(trainer: pl.Trainer, moment: Moment) -> Path | None:
    """A whole checkpoint that another policy has written at this moment."""
    for policy in policies(trainer):
        if policy.saved is not None and policy.saved[0] == moment and policy.saved[1] is not None:
            return policy.saved[1]
    return None


def policies(trainer: pl.Trainer) -> list[SavingPolicy]:
    """The callbacks of a trainer that save."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, SavingPolicy)]


def checkpoint_folder(trainer: pl.Trainer) -> Path:
    """Where a training keeps its checkpoints."""
    return Path(os.path.abspath(trainer.default_root_dir)) / FOLDER


def checkpoint_io(trainer: pl.Trainer) -> AtomicCheckpointIO | None:
    """Heed's writer, if that is what the trainer writes with."""
    io = trainer.strategy.checkpoint_io
    return io if isinstance(io, AtomicCheckpointIO) else None


def validates_now(trainer: pl.Trainer) -> bool:
    """Whether the training batch that has just ended is followed by a validation.

    A checkpoint from before it would go on without it. Only Lightning's loop knows.
    """
    if 0 < trainer.max_steps <= trainer.global_step:
        return bool(trainer.enable_validation)
    loop: Any = trainer.fit_loop.epoch_loop
    return bool(loop._should_check_val_fx(trainer.fit_loop._data_fetcher))


def validation_is_due(trainer: pl.Trainer) -> bool:
    """Whether a run goes on within a validation, which has to be made before all else."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(c.place.validation_due for c in callbacks if isinstance(c, ExactState))


def _raise_together(trainer: pl.Trainer, failure: Exception | None) -> None:
    if not trainer.strategy.reduce_boolean_decision(failure is not None, all=False):
        return
    if isinstance(failure, WritingError):
        raise SaveFailed(failure.problem, failure.remedy) from failure
    said = "another process could not write its checkpoint" if failure is None else str(failure)
    raise SaveFailed(said) from failure
