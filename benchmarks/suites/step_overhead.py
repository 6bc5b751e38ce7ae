"""What is around a training step: Heed's loop and Lightning's over a plain loop."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from harness import training_arms as arms
from harness.corpus import prepared, words_for
from harness.results import Ratio, Result, Row
from harness.settings import Settings
from harness.turns import Lane, Turn, Turnstile, in_turns
from torch import Tensor, nn

from heed.commands.compose import compose
from heed.commands.session import build_trainer
from heed.data.sampler import TokenBudgetSampler
from heed.heads.loss import Loss
from heed.tasks.base import Task
from suites.training import BARE, HEED, SIZES

MS, CPU = "ms a step", "CPU ms a step"
ADDED, CPU_ADDED = "ms added to a step", "CPU ms added to a step"
PLAIN = "plain loop"


def measure(asked: Settings) -> list[Result]:
    """The default job, and a model so small that nothing is left but what is around it."""
    return [default_job(asked), trivial(asked)]


def default_job(asked: Settings) -> Result:
    """`heed train` as it comes, against the same model and batches in a plain loop."""
    sized = SIZES["small"]._replace(model="tiny", max_tokens=1024, pairs=4000, length=9.0)
    on_gpu = asked.device == "cuda"
    if on_gpu:
        sized = sized._replace(model="small", max_tokens=8192)
    if asked.quick:
        sized = sized._replace(vocabulary=300, max_tokens=128, pairs=200)
    config, parts = prepared(sized, asked)
    _, bare_parts = prepared(sized, asked)
    lanes = [
        arms.heed_train(HEED, config, parts, asked),
        arms.heed_bare(BARE, config, bare_parts, asked, 10 if asked.quick else 1000),
    ]
    rounds, steps = (2, 2) if asked.quick else (3 * asked.rounds, 60 if on_gpu else 20)
    turns = in_turns(lanes, rounds=rounds, steps=steps, warm_up=min(steps, 10))
    result = Result(
        "step_overhead",
        f"a step of heed train (model={sized.model}, {sized.max_tokens} token positions) and of "
        "a plain loop with its model and batches",
        asked.device,
        settings={"steps a turn": steps, "turns": rounds},
    )
    for name, own in turns.items():
        result.rows += rows_of(name, own)
    result.compare(HEED, BARE, MS, better="lower", reach=1.03)
    result.compare(HEED, BARE, CPU, better="lower")
    return result


def rows_of(name: str, turns: list[Turn]) -> list[Row]:
    """Milliseconds, of the clock and of the processor."""
    return [
        Row(name, MS, [1000 * turn.wall / turn.steps for turn in turns]),
        Row(name, CPU, [1000 * turn.cpu / turn.steps for turn in turns]),
    ]


# A trivial model ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Rows:
    """A batch that knows what a batch of Heed knows."""

    values: Tensor
    indices: list[int]
    real_tokens: int = 8
    token_positions: int = 8

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: Any, non_blocking: bool = False) -> Rows:
        """The same on a device."""
        return dataclasses.replace(self, values=self.values.to(device, non_blocking=non_blocking))


class Trivial(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__(
            optimizer=lambda module: torch.optim.SGD(module.parameters(), lr=1e-3),
            scheduler=lambda optimizer, total_steps: torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: 1.0
            ),
            monitor="val/loss",
            mode="min",
        )
        self.linear = nn.Linear(8, 8)

    def loss(self, batch: Rows) -> Loss:
        values = self.linear(batch.values)
        return Loss(values.sum(), torch.tensor(len(batch), device=values.device))


class PlainModule(pl.LightningModule):
    """The same as Lightning's documentation would have it."""

    def __init__(self, logs: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.logs = logs

    def training_step(self, batch: Rows, batch_idx: int) -> Tensor:
        loss = self.linear(batch.values).sum() / len(batch)
        if self.logs:
            self.log("loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Data(pl.LightningDataModule):
    """Batches made beforehand, and a place in them as Heed's data module keeps it."""

    def __init__(self, turnstile: Turnstile, batches: list[Rows]) -> None:
        super().__init__()
        self.turnstile, self.batches = turnstile, batches
        self.of_heed = TokenBudgetSampler(
            lengths=np.full((len(batches), 1), 8), max_tokens=8, batch_size=1, seed=0
        )

    def train_dataloader(self) -> Any:
        """Itself."""
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return self.turnstile.through(self.batches)

    def advance(self) -> None:
        """As Heed's data module does it."""
        self.of_heed.advance()
        if self.of_heed.remaining() <= 0:
            self.of_heed.set_epoch(self.of_heed.epoch + 1)

    def next_place(self) -> tuple[int, int]:
        """Likewise."""
        return self.of_heed.next_place()

    def ends_early(self) -> bool:
        """Likewise."""
        return bool(self.of_heed.left_out_here)


def trivial(asked: Settings) -> Result:
    """One linear layer in a plain loop, in Lightning's Trainer three ways, and in Heed's."""
    count = 20 if asked.quick else 2000
    batches = [Rows(torch.ones(2, 8), [0, 1]) for _ in range(count)]
    device = asked.device

    def plain(turnstile: Turnstile) -> None:
        model = nn.Linear(8, 8).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for batch in turnstile:
            optimizer.zero_grad()
            (model(batch.to(device).values).sum() / len(batch)).backward()
            optimizer.step()

    def lightning(turnstile: Turnstile, logs: bool, **given: Any) -> None:
        trainer = pl.Trainer(
            max_steps=10_000_000,
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            default_root_dir=tempfile.mkdtemp(dir=asked.work),
            **given,
        )
        trainer.fit(PlainModule(logs), datamodule=Data(turnstile, batches))

    def heed(turnstile: Turnstile) -> None:
        sized = SIZES["small"]._replace(pairs=200, vocabulary=300)
        config = compose("train", words_for(sized, asked, "trainer.precision=32-true"))
        trainer = build_trainer(config, Path(tempfile.mkdtemp(dir=asked.work)))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
        trainer.fit(Trivial(), datamodule=Data(turnstile, batches))

    def lane(name: str, loop: Any) -> Lane:
        return Lane(name, loop, batches, settle=asked.settle)

    lanes = [
        lane(PLAIN, plain),
        lane("Lightning, barebones", lambda t: lightning(t, False, barebones=True)),
        lane("Lightning, default", lambda t: lightning(t, False, enable_model_summary=False)),
        lane("Lightning, self.log", lambda t: lightning(t, True, enable_model_summary=False)),
        lane("heed, all it does", heed),
    ]
    rounds, steps = (2, 4) if asked.quick else (3 * asked.rounds, 300)
    turns = in_turns(lanes, rounds=rounds, steps=steps, warm_up=4 if asked.quick else 100)
    result = Result(
        "step_overhead_trivial",
        "a step of one linear layer: what is around it",
        device,
        settings={"steps a turn": steps, "turns": rounds},
    )
    for name, own in turns.items():
        result.rows += rows_of(name, own)
    for what, clock in ((ADDED, "wall"), (CPU_ADDED, "cpu")):
        add_differences(result, turns, what, clock)
    return result


def add_differences(result: Result, turns: dict[str, list[Turn]], what: str, clock: str) -> None:
    """What each arm takes more than the plain loop, and Heed's as a multiple of the others'."""
    _, *names = turns
    for name in names:
        pairs = zip(turns[name], turns[PLAIN], strict=True)
        added = [1000 * (getattr(a, clock) - getattr(b, clock)) / a.steps for a, b in pairs]
        result.rows.append(Row(name, what, added))
    *peers, own = [row for row in result.rows if row.what == what]
    for peer in peers:
        name = f"{own.arm} / {peer.arm}, {what}"
        result.ratios.append(Ratio(name, own.median / peer.median, "lower"))
