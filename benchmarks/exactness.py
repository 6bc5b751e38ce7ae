"""What exact resume costs: the time of a training step with `ExactState` against without.

    python benchmarks/exactness.py [--model tiny] [--rounds 20] [--steps 20]

One training is made, in which the callback is on in every other stretch of `--steps` steps, so that
whatever else the machine does meets both alike. Printed are the medians of the stretches, their
ratio, and the spread: in wall time, and in CPU time of the process, which other programs on the
machine disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from heed.commands.assemble import assemble
from heed.commands.build import build
from heed.commands.compose import compose
from heed.commands.quiet import quiet_libraries
from heed.training.callbacks.exact_state import ExactState


class InTurns(Callback):
    """Lets `ExactState` work in every other stretch of steps, and times all of them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.exact = ExactState()
        self.seconds: dict[bool, list[tuple[float, ...]]] = {True: [], False: []}
        self._begun = 0
        self._marks = clocks()

    @property
    def on(self) -> bool:
        return (self._begun // self.steps) % 2 == 1

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.exact.on_train_start(trainer, module)

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
        if self._begun % self.steps == 0:
            self._marks = clocks()
        if self.on:
            self.exact.on_train_batch_start(trainer, module, *args)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
        on = self.on
        if on:
            self.exact.on_train_batch_end(trainer, module, *args)
        self._begun += 1
        if self._begun % self.steps == 0:
            passed = (now - then for now, then in zip(clocks(), self._marks, strict=True))
            self.seconds[on].append(tuple(seconds / self.steps for seconds in passed))


def clocks() -> tuple[float, float]:
    """Wall time and CPU time of the process, in seconds."""
    return time.perf_counter(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=20, help="stretches of each kind")
    parser.add_argument("--steps", type=int, default=20, help="steps of a stretch")
    parser.add_argument("overrides", nargs="*", help="of heed train")
    asked = parser.parse_args()
    quiet_libraries()
    steps = asked.steps * asked.rounds * 2
    words = [f"model={asked.model}", f"trainer.max_steps={steps}", "trainer.max_epochs=-1"]
    config = compose("train", [*words, "trainer.limit_val_batches=0", *asked.overrides])
    pl.seed_everything(config["seed"], verbose=False)
    parts = assemble(config)
    turns = InTurns(asked.steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(
            config["trainer"],
            key="trainer",
            callbacks=[turns],
            loggers=[],
            run_dir=Path(folder),
        )
        trainer.fit(parts.task, datamodule=parts.datamodule)
    for number, clock in enumerate(("wall", "CPU")):
        rounds = [[one[number] for one in turns.seconds[kind][1:]] for kind in (False, True)]
        off, on = (statistics.median(seconds) for seconds in rounds)  # without the first, a warm-up
        ratios = sorted(one / other for other, one in zip(*rounds, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
        print(
            f"{clock:<5} step without {off * 1e3:.3f} ms, with {on * 1e3:.3f} ms: "
            f"ratio {on / off:.4f}; middle half of {len(ratios)} pairs {low:.4f} to {high:.4f}"
        )


if __name__ == "__main__":
    main()
