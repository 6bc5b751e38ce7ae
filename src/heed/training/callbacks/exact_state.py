"""What a run needs, beside weights and optimizer, to go on as if it had never stopped."""

from __future__ import annotations

import random
import warnings
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from heed.training.callbacks.loop_place import LoopPlace
from heed.training.numpy_stream import NumpyStream

RandomState = dict[str, Any]
ProcessState = dict[str, Any]
KEY = "processes"
LOGGERS = "loggers"
_NUMPY = NumpyStream()


class ExactState(Callback):
    """Counts the data trained on, and gives training a stream of random numbers of its own.

    After each training batch the data module is told that the batch is done (`advance()`); its
    position is saved with the checkpoint and is where a resumed run starts.

    The states of the random generators at the end of a training batch are those at the start of the
    next, whatever happens in between: validation, loaders, logging or a resume leave no trace in
    the numbers that training draws. Checkpoints hold the states of every process, beside the sums
    that its next log line is made of, and how far the loggers had got.

    Attributes:
        place: Where training is in Lightning's loops.
    """

    def __init__(self) -> None:
        self.place = LoopPlace()
        self._state: RandomState | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._state is None:
            self._state = random_state(pl_module.device)
        if trainer.is_global_zero and trainer.global_step == 0:
            go_to_places(trainer.loggers, None)  # a run may begin again in its folder
        self.place.go_on(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.place.end_epoch(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.place.begin_validation(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.place.end_validation()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert self._state is not None
        set_random_state(self._state, pl_module.device)
        self._end_short_epoch(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._state = random_state(pl_module.device)
        advance = getattr(trainer.datamodule, "advance", None)  # type: ignore[attr-defined]
        if advance is not None:
            advance()

    @property
    def state(self) -> RandomState | None:
        """The generators' states at the start of the training batch that is under way."""
        return self._state

    def _end_short_epoch(self, trainer: pl.Trainer) -> None:
        """Let an epoch of which batches are left out end with the last that is there.

        Lightning counts the batches of an epoch before training begins, and ends one with a step
        and, where that is asked for, a validation, when so many have come. Those left out are
        counted with the last.
        """
        ends_early = getattr(trainer.datamodule, "ends_early", None)  # type: ignore[attr-defined]
        if ends_early is None or not ends_early():
            return
        loop = trainer.fit_loop
        progress = loop.epoch_loop.batch_progress
        missing = int(loop.max_batches) - progress.current.ready
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress.current, name, getattr(progress.current, name) + missing)
        progress.is_last_batch = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._state = None  # a second fit starts from the generators as they are then

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = self._state or random_state(pl_module.device)
        own: ProcessState = {"random": plain_random_state(state)}
        sums_in_flight: Any = getattr(pl_module, "sums_in_flight", None)
        if sums_in_flight is not None:
            own["sums"] = sums_in_flight()
        states: list[Any] = [own]
        if trainer.world_size > 1 and dist.is_initialized():
            states = [None] * trainer.world_size
            dist.all_gather_object(states, own)
        checkpoint[KEY] = states
        self.place.mark(checkpoint)
        if trainer.is_global_zero:
            checkpoint[LOGGERS] = places(trainer.loggers, trainer.global_step)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up this process's state; a process that the saved run did not have starts anew."""
        if trainer.state.fn != "fit":
            return
        # Lightning looks for the position in the loader; it is in the data module
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        self.place.take_up(checkpoint)
        states: list[ProcessState] = checkpoint.get(KEY, [])
        if trainer.global_rank < len(states):
            self._state = _from_plain(states[trainer.global_rank]["random"])
        take_up_sums: Any = getattr(pl_module, "take_up_sums", None)
        if take_up_sums is not None:
            take_up_sums(_share(states, trainer.global_rank, trainer.world_size))
        if trainer.is_global_zero:
            go_to_places(trainer.loggers, checkpoint.get(LOGGERS, {}))


def places(loggers: list[Any], step: int) -> dict[str, Any]:
    """How far each logger has got, by its name; what it still holds back is written first."""
    found = {}
    for logger in loggers:
        logger.save()
        if hasattr(logger, "place"):
            found[type(logger).__name__] = logger.place(step)
    return found


def go_to_places(loggers: list[Any], saved: dict[str, Any] | None) -> None:
    """Drop what loggers have of the time after a checkpoint, which is about to come again.

    Args:
        loggers: The loggers; those without `go_to` are left alone.
        saved: What `places` gave; None drops everything.
    """
    for logger in loggers:
        name = type(logger).__name__
        if hasattr(logger, "go_to") and (saved is None or name in saved):
            logger.go_to(None if saved is None else saved[name])


def _share(states: list[ProcessState], rank: int, processes: int) -> dict[str, torch.Tensor]:
    """The sums that a process goes on from: its own, or with other processes than before all."""
    if processes == len(states):
        return states[rank].get("sums", {})
    all_sums = [state["sums"] for state in states if state.get("sums")]
    if rank or not all_sums:
        return {}
    return {name: sum(sums[name] for sums in all_sums) for name in all_sums[0]}


def random_state(device: torch.device) -> RandomState:
    """The states of Python's, NumPy's and torch's generators, as cheap as they come.

    They are asked for at every batch; `plain_random_state` is what a file can hold.
    """
    state: RandomState = {
        "python": random.getstate(),
        "numpy": _NUMPY.take(),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def plain_random_state(state: RandomState) -> RandomState:
    """The same as tensors and plain values."""
    version, words, gauss = state["python"]
    name, keys, *rest = state["numpy"]
    return {
        **state,
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }


def _from_plain(state: RandomState) -> RandomState:
    version, words, gauss = state["python"]
    name, keys, *rest = state["numpy"]
    return {
        **state,
        "python": (version, tuple(words.tolist()), gauss),
        "numpy": (name, keys.numpy().astype(np.uint32), *rest),
    }


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Put the generators into these states, plain or not; those of no device here are left out."""
    if isinstance(state["python"], list):
        state = _from_plain(state)
    random.setstate(state["python"])
    _NUMPY.put(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
