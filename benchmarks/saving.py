"""What the policies of saving cost a training: the share of its time that they take.

    python benchmarks/saving.py [--steps 400] [--every 100] [overrides of heed train]

One training, in which everything that the callbacks for checkpoints do is timed: asking at each
batch whether a save is due, and saving: `last.ckpt` every so many steps, the best after each of as
many validations. Printed is their share of the time of training (without validation), for files
written at once and in the background.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from heed.commands.assemble import assemble
from heed.commands.build import build
from heed.commands.compose import compose
from heed.commands.quiet import quiet_libraries
from heed.training.callbacks.checkpoint import BestCheckpoint
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint

HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_validation_end", "on_train_end")


class Stopwatch(Callback):
    """Times the training, the validations in it, and the hooks of some callbacks."""

    def __init__(self, watched: list[Callback]) -> None:
        self.saving = 0.0
        self.training = 0.0
        for callback in watched:
            for name in HOOKS:
                setattr(callback, name, self._timed(getattr(callback, name)))

    def _timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            answer = hook(*args, **kwargs)
            self.saving += time.perf_counter() - start
            return answer

        return timed

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.training -= time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.training += time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.training += time.perf_counter()

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.training -= time.perf_counter()


def main() -> None:
    """Print the share of saving, at once and in the background."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=100, help="steps between saves")
    parser.add_argument("overrides", nargs="*", help="of heed train")
    asked = parser.parse_args()
    quiet_libraries()
    for background in (False, True):
        watch, parameters = train(asked.steps, asked.every, background, asked.overrides)
        print(
            f"{'in the background' if background else 'at once':<18} {parameters:,} parameters, "
            f"{watch.training:.1f} s of training, {watch.saving:.3f} s in saving: "
            f"{watch.saving / watch.training:.2%}"
        )


def train(steps: int, every: int, background: bool, overrides: list[str]) -> tuple[Stopwatch, int]:
    """Train with the two policies on a stopwatch."""
    config = compose(
        "train",
        [
            *(f"trainer.max_steps={steps}", "trainer.max_epochs=-1"),
            *(f"trainer.val_check_interval={every}", "trainer.limit_val_batches=2"),
            *("decoding=greedy", f"trainer.asynchronous_checkpoints={str(background).lower()}"),
            *overrides,
        ],
    )
    pl.seed_everything(config["seed"], verbose=False)
    parts = assemble(config)
    policies: list[Callback] = [
        BestCheckpoint(monitor="val/loss", mode="min"),
        LastCheckpoint(every_n_train_steps=every),
    ]
    watch = Stopwatch(policies)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(
            config["trainer"],
            key="trainer",
            callbacks=[watch, *policies],
            loggers=[],
            run_dir=Path(folder),
        )
        trainer.fit(parts.task, datamodule=parts.datamodule)
    return watch, sum(weight.numel() for weight in parts.task.parameters())


if __name__ == "__main__":
    main()
