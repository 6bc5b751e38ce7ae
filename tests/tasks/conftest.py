"""Every task on a handful of examples: fresh, and once it has learned them by heart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded
from heed.commands.assemble import Parts, assemble
from heed.commands.compose import compose
from heed.data.batch import Batch, MaskedBatch, PrefixBatch, SpanBatch, TextBatch, Tokens
from heed.data.preparation import columns_of

STEPS = 90
ENOUGH = 0.015  # loss at which a batch counts as learned by heart
ROWS = {"translation": 7, "summarization": 3, "generative_qa": 3, "sentiment": 7, "qa": 5}
ROWS |= {"masked_lm": 5, "causal_lm": 5}
UNSMOOTHED = ("qa", "masked_lm", "causal_lm")
SMALL = (
    "data=builtin",
    "data.source.train_size=61",
    "data.source.validation_size=17",
    "data.source.test_size=11",
    "tokenizer.vocabulary_size=499",
    "model.d_model=32",
    "model.n_heads=2",
    "model.d_feed_forward=64",
    "model.n_layers=1",
    "model.dropout=0.0",
    "optimizer.lr=0.01",
    "seed=3",
)


@dataclass
class Case:
    """A task with fresh weights, and one batch of its validation data."""

    parts: Parts
    records: list[dict[str, Any]]
    batch: Batch

    @property
    def task(self) -> Any:
        return self.parts.task

    def collate(self, records: Sequence[dict[str, Any]]) -> Batch:
        """A batch of these records, as evaluation makes it."""
        preparation = self.parts.datamodule.preparation
        columns = preparation.encode(columns_of(records), range(len(records)), training=False)
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        return preparation.collate(rows, [records[row["index"]] for row in rows])


@dataclass
class Learned(Case):
    """A case after its batch was trained on; `losses` are the mean losses of the steps."""

    losses: list[float]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make(cache_dir: Path) -> Callable[..., Case]:
    """`make("qa", "model.shape=decoder")` is a case with weights of its own."""

    def make_case(name: str, *overrides: str) -> Case:
        words = [*SMALL, f"task={name}", f"paths.cache_dir={cache_dir}"]
        words += [] if name in UNSMOOTHED else ["task.label_smoothing=0.0"]
        words += ["task.head_dropout=0.0"] if name == "sentiment" else []
        torch.manual_seed(3)
        parts = assemble(compose("train", [*words, *overrides]))
        corpus = parts.corpus.records("validation")
        case = Case(parts, [corpus[i] for i in range(ROWS[name])], None)  # type: ignore[arg-type]
        case.batch = case.collate(case.records)
        return case

    return make_case


@pytest.fixture(scope="session")
def learned(make: Callable[..., Case]) -> Callable[..., Learned]:
    """`learned("qa", "encoder")` has learned its batch by heart; the same object each time."""
    known: dict[tuple[str, str], Learned] = {}

    def learn(name: str, shape: str) -> Learned:
        if (name, shape) not in known:
            case = make(name, f"model.shape={shape}")
            losses = by_heart(case.task, case.batch)
            known[name, shape] = Learned(case.parts, case.records, case.batch, losses)
        case = known[name, shape]
        case.task.eval()
        return case

    return learn


def by_heart(task: Any, batch: Batch) -> list[float]:
    """Mean losses of steps on one batch, until it is learned or STEPS are done."""
    task.train()
    optimizer = task.make_optimizer(task)
    losses: list[float] = []
    while len(losses) < STEPS and (not losses or losses[-1] > ENOUGH):
        loss = task.loss(batch)
        mean = loss.sum / loss.count
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        losses.append(float(mean.detach()))
    return losses


@pytest.fixture(scope="session")
def widened() -> Callable[..., Batch]:
    """`widened(batch, extra)`: the same rows with more padding, of tokens that mean something."""

    def widen(batch: Batch, extra: int) -> Batch:
        if isinstance(batch, SpanBatch):
            mask = torch.nn.functional.pad(batch.passage_mask, (0, extra))
            offsets = torch.nn.functional.pad(batch.offsets, (0, 0, 0, extra), value=-1)
            return replace(
                batch, tokens=wider(batch.tokens, extra), passage_mask=mask, offsets=offsets
            )
        if isinstance(batch, (MaskedBatch, PrefixBatch, TextBatch)):
            return replace(batch, tokens=wider(batch.tokens, extra))
        target = wider(batch.target, extra) if batch.target else None
        return replace(batch, source=wider(batch.source, extra), target=target)

    return widen


def wider(tokens: Tokens, extra: int) -> Tokens:
    rows, width = tokens.ids.shape
    ids = torch.full((rows, width + extra), 11)
    ids[:, :width] = torch.where(tokens.layout.mask(), tokens.ids, 11)
    return Tokens(ids, Padded(tokens.layout.lengths, width + extra))
