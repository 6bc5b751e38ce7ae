"""Stopping on request: a signal ends a training after the step under way, and saves it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint

from heed.errors import EXIT_INTERRUPTED, EXIT_STOPPED
from heed.training.callbacks.ema import ExponentialMovingAverage
from heed.training.callbacks.loop_place import can_stop_validating
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint
from heed.training.callbacks.saving import FOLDER, validates_now

Handler = Callable[[int, FrameType | None], Any] | int | None
# SIGUSR1 and SIGUSR2 are what clusters send some time before they end a job.
WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
STOPPING = (signal.SIGTERM, *WARNINGS)


class Stopped(SystemExit):
    """A signal has ended the run: exit code 130 for Ctrl-C, 143 for any other.

    Args:
        signum: The signal.
        saved: Whether the training up to here is in `checkpoints/last.ckpt`.
    """

    def __init__(self, signum: int, *, saved: bool) -> None:
        super().__init__(EXIT_INTERRUPTED if signum == signal.SIGINT else EXIT_STOPPED)
        self.signum = signum
        self.saved = saved


class Interrupt(Checkpoint):
    """Ends a training cleanly when the process is asked to.

    While a training runs, the first Ctrl-C (SIGINT), SIGTERM, SIGUSR1 or SIGUSR2 lets the optimizer
    step under way come to its end, saves `checkpoints/last.ckpt`, and leaves the trainer with
    `Stopped`. In a validation it is the batch under way that ends; the validation begins anew when
    the run goes on. A second signal, or one outside a training, raises `Stopped` at once. All
    processes of a run stop after the same step, whichever of them got the signal.

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
        self._group: Any = None  # over which processes agree to stop

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
        for signum in (signal.SIGINT, *STOPPING):
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

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.received:
            self._stop_in_validation(trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_in_validation(trainer)

    def _stop_in_validation(self, trainer: pl.Trainer) -> None:
        """Stop after a batch of a validation, of which processes may have different numbers.

        Each asks the others once: after its last batch, or as soon as it has got a signal, which
        makes the answer known beforehand.
        """
        if self._training and not self._accumulating and can_stop_validating(trainer):
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
        signum = self._received_by_any(trainer)
        if signum:
            _put_back_weights_in_training(trainer)
            save_last(trainer)
            raise Stopped(signum, saved=True)

    def _received_by_any(self, trainer: pl.Trainer) -> int:
        """The signal that some process got, the same answer on all; 0 for none.

        Processes agree over the network of their hosts: asking a GPU would wait for its work.
        """
        signum = self.received or 0
        if trainer.world_size > 1 and dist.is_initialized():
            if self._group is None:
                here = dist.get_backend() == "gloo"
                self._group = dist.group.WORLD if here else dist.new_group(backend="gloo")
            largest = torch.tensor(signum)
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=self._group)
            signum = int(largest)
        return signum

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._training = False
        self._group = None  # the next run of this process has other processes
        if not self._entered:
            self._restore()


def _put_back_weights_in_training(trainer: pl.Trainer) -> None:
    """In the middle of a validation those in the model may be an average."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ExponentialMovingAverage):
            callback.on_validation_epoch_end(trainer, trainer.lightning_module)


def save_last(trainer: pl.Trainer) -> None:
    """Write `checkpoints/last.ckpt` for the step that was just made."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LastCheckpoint):
            callback.save(trainer)
            return
    trainer.save_checkpoint(os.path.join(trainer.default_root_dir, FOLDER, "last.ckpt"))


def _handle_in_child(signum: int) -> None:
    """A forked loader worker has our handlers: Ctrl-C is the parent's matter, SIGTERM ends it."""
    if signum == signal.SIGTERM:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
