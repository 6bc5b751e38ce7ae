"""A small real training whose loss is spoilt where a test says, with what guards it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from heed.commands.assemble import Parts, assemble, build_datamodule
from heed.commands.compose import compose
from heed.commands.fit import fit
from heed.heads.loss import Loss
from heed.tracking.csv_logger import CsvLogger
from heed.training.callbacks.checkpoint import LastCheckpoint
from heed.training.callbacks.exact_state import ExactState
from heed.training.callbacks.non_finite import NonFinite
from heed.training.trainer import build_trainer

OVERRIDES = (
    "data=builtin",
    "data.source.train_size=31",
    "data.source.validation_size=17",
    "data.source.test_size=11",
    "data.max_tokens=97",
    "tokenizer.vocabulary_size=401",
    "model.d_model=22",
    "model.n_heads=2",
    "model.d_feed_forward=37",
    "model.n_layers=1",
    "model.dropout=0.1",
    "optimizer.lr=3e-3",
    "scheduler.warmup_steps=3",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.limit_val_batches=0",
    "trainer.log_every_n_steps=1",
    "trainer.max_epochs=1",
)
QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*Trying to infer the `batch_size`",
    "ignore:.*You defined a `validation_step` but have no `val_dataloader`",
    "ignore:.*Checkpoint directory .* exists and is not empty",
)


class Course(pl.Callback):
    """What a training went through: the place and the weights before each batch it was given."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.before: list[dict[str, torch.Tensor]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.places.append(trainer.datamodule.next_place())
        self.before.append({n: p.detach().clone() for n, p in pl_module.named_parameters()})


class Training:
    """Trainings from the same start, each in a folder of its own."""

    def __init__(self, root: Path, *overrides: str) -> None:
        self.root = root
        words = [*OVERRIDES, *overrides, f"paths.cache_dir={root / 'cache'}"]
        self.config = compose("train", words)
        torch.manual_seed(5)
        self.parts = assemble(self.config)
        self.parts.datamodule.prepare_data()

    def new_parts(self, spoil: Callable[[Any, Loss, tuple[int, int]], Loss] | None = None) -> Parts:
        """A copy of the task, and a data module of its own; `spoil` has a say in each loss."""
        task = copy.deepcopy(self.parts.task)
        datamodule = build_datamodule(
            self.config, self.parts.corpus, self.parts.datamodule.preparation
        )
        datamodule.prepare_data()
        loss = task.loss

        def spoilt(batch: Any) -> Loss:
            found = loss(batch)
            if spoil is None or not task.training:
                return found
            return spoil(task, found, datamodule.next_place())

        task.loss = spoilt  # type: ignore[method-assign]
        parts = copy.copy(self.parts)
        parts.task, parts.datamodule = task, datamodule
        return parts

    def trainer(self, run_dir: Path, callbacks: Iterable[Any], **changes: Any) -> pl.Trainer:
        values = {k: v for k, v in self.config["trainer"].items() if k != "_target_"}
        return build_trainer(
            **{**values, **changes},
            callbacks=list(callbacks),
            loggers=[CsvLogger(run_dir=run_dir)],
            run_dir=run_dir,
        )

    def run(
        self,
        run_dir: Path,
        guard: NonFinite | None,
        spoil: Callable[[Any, Loss, tuple[int, int]], Loss] | None = None,
        *,
        left_out: Iterable[tuple[int, int]] = (),
        checkpoint: Path | None = None,
        every: int | None = 3,
        others: Iterable[Any] = (),
        **changes: Any,
    ) -> tuple[pl.Trainer, Parts, Course]:
        """Train; returns the trainer, its parts and what it went through."""
        run_dir.mkdir(parents=True, exist_ok=True)
        parts, course = self.new_parts(spoil), Course()
        if left_out:
            parts.datamodule.leave_out(left_out)
        guards = [] if guard is None else [guard]
        last = LastCheckpoint(every_n_train_steps=every)
        trainer = self.trainer(run_dir, [ExactState(), *guards, *others, course, last], **changes)
        pl.seed_everything(11, verbose=False)
        self.last = trainer, parts, course  # for runs that end with an error
        fit(trainer, parts, checkpoint)
        return trainer, parts, course


class Overflow(pl.Callback):
    """Sets one weight of a module to a value before the batch at a place."""

    def __init__(self, module: str, place: tuple[int, int], value: float) -> None:
        self.module, self.place, self.value = module, place, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.datamodule.next_place() == self.place:
            with torch.no_grad():
                pl_module.get_submodule(self.module).weight.view(-1)[7] = self.value


def at(*places: tuple[int, int], factor: float = float("nan")) -> Callable[..., Loss]:
    """Multiplies the losses of the batches at these places."""

    def spoil(task: Any, loss: Loss, place: tuple[int, int]) -> Loss:
        return Loss(loss.sum * factor, loss.count) if place in places else loss

    return spoil


def state(trainer: pl.Trainer) -> list[torch.Tensor]:
    """Weights and optimizer state, copied."""
    tensors = list(trainer.lightning_module.parameters())
    for kept in trainer.optimizers[0].state.values():
        tensors += [value for value in kept.values() if isinstance(value, torch.Tensor)]
    return [tensor.detach().clone() for tensor in tensors]


def alike(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 10 and all(
        torch.equal(one, other) for one, other in zip(first, second, strict=True)
    )
