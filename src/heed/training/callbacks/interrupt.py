"""Stopping on request: Ctrl-C and SIGTERM end a training after the step under way, and save it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint

from heed.training.callbacks.checkpoint import LastCheckpoint
from heed.training.callbacks.saving import validates_now

Handler = Callable[[int, FrameType | None], Any] | int | None
_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """A signal has ended the run; its exit code is 128 + the signal (130 Ctrl-C, 143 SIGTERM).

    Args:
        signum: The signal.
        saved: Whether the training up to here is in `checkpoints/last.ckpt`.
    """

    def __init__(self, signum: int, *, saved: bool) -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.saved = saved


class Interrupt(Checkpoint):
    """Ends a training cleanly when the process is asked to.

    While a training runs, the first Ctrl-C (SIGINT) or SIGTERM lets the optimizer step under way,
    or the validation, come to its end, saves `checkpoints/last.ckpt`, and leaves the trainer with
    `Stopped`. A second signal, or one outside a training, raises `Stopped` at once. All processes
    of a run stop after the same step, whichever of them got the signal.

    It is a context manager too, which handles the signals from before to after the trainer's work;
    without it they are handled during training only. Only the main thread can handle signals:
    elsewhere nothing is changed. The handlers that were there come back at the end.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._step = 0
        self._accumulating = False
        self._before: dict[int, Handler] = {}
        self._entered = False
        self._process = os.getpid()

    # The handlers --------------------------------------------------------------------------------

    def __enter__(self) -> Interrupt:
        self._entered = True
        self.received = None
        self._install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        self._restore()

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for signum in _CAUGHT:
            handler = signal.getsignal(signum)
            self._before.setdefault(signum, handler)
            signal.signal(signum, self._handle)

    def _restore(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            _handle_in_child(signum)
            return
        first = self.received is None
        self.received = signum
        if not (first and self._training):
            raise Stopped(signum, saved=False)
        text = "\nStopping after this step, and saving. Ctrl-C again stops at once.\n"
        os.write(2, text.encode())  # a signal may come in the middle of a print

    # The trainer ---------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._entered:
            self.received = None
        self._install()  # by now Lightning has put a handler of its own before ours
        self._training = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step
        self._accumulating = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._accumulating = trainer.global_step == self._step
        if not validates_now(trainer):  # else it stops when that has ended
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._training:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._accumulating = False
        self._stop_if_asked(trainer)
        self._end()

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        if self._accumulating:
            return  # gradients are not saved: the step has to be made first
        asked = self.received is not None
        if trainer.world_size > 1 and dist.is_initialized():
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        save_last(trainer)
        raise Stopped(self.received or signal.SIGTERM, saved=True)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._training = False
        if not self._entered:
            self._restore()


def save_last(trainer: pl.Trainer) -> None:
    """Write `checkpoints/last.ckpt` for the step that was just made."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LastCheckpoint):
            callback.save(trainer)
            return
    trainer.save_checkpoint(os.path.join(trainer.default_root_dir, "checkpoints", "last.ckpt"))


def _handle_in_child(signum: int) -> None:
    """A forked loader worker has our handlers: Ctrl-C is the parent's matter, SIGTERM ends it."""
    if signum == signal.SIGTERM:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
