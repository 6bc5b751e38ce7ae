"""Runs of the real command, with one process and with two (gloo on the CPU)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heed.cli import main
from heed.tracking.csv_logger import read_metrics

SMALL = (
    "data=builtin",
    "data.source.train_size=151",
    "data.source.validation_size=31",
    "data.source.test_size=29",
    "data.max_tokens=700",
    "data.eval_max_tokens=900",
    "tokenizer.vocabulary_size=499",
    "model.d_model=22",
    "model.n_heads=2",
    "model.d_feed_forward=37",
    "model.n_layers=1",
    "model.dropout=0.0",
    "decoding=greedy",
    "decoding.max_length=13",
    "optimizer.lr=3e-3",
    "scheduler.warmup_steps=3",
    "trainer.precision=32-true",
    "trainer.max_steps=11",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=5",
    "callbacks.progress=null",
    "logger=csv",
)
TWO_PROCESSES = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
OVERRIDES = {
    "translation": ("task=translation",),
    "qa": ("task=qa", "task.preparation.max_length=61", "task.preparation.stride=17",
           "task.preparation.max_question_length=23"),
    "sentiment": ("task=sentiment", "task.head_dropout=0.0"),
    "summarization": ("task=summarization", "task.preparation.max_source_length=67"),
    "generative_qa": ("task=generative_qa", "data.max_tokens=1008"),  # twice two of the longest
}  # fmt: skip


@dataclass
class Run:
    """A finished run."""

    folder: Path
    output: str

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    def column(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every row of metrics.csv that has this value."""
        rows = read_metrics(self.folder / "metrics.csv")
        return [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="session")
def command():
    """`command("train", ...)` runs `heed train ...` as a user would; returns its result."""

    def run(
        *words: str, timeout: float = 600.0, python: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *(() if python else ("-m", "heed")), *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


@pytest.fixture(scope="session")
def words(root: Path):
    """`words("qa", "two")`: the overrides of a run of two, its folders in a place of its own."""

    def make(task: str, place: str) -> list[str]:
        paths = [f"paths.output_dir={root / place}", f"paths.cache_dir={root / 'cache'}"]
        return [*SMALL, *TWO_PROCESSES, *OVERRIDES[task], *paths, f"name={task}"]

    return make


@pytest.fixture(scope="session")
def two_processes(root, command, words):
    """`two_processes("qa")` is a run of two processes; the same one each time."""
    known: dict[str, Run] = {}

    def train(task: str) -> Run:
        if task not in known:
            done = command("train", *words(task, "two"))
            assert done.returncode == 0, done.stdout + done.stderr + logs(root / "two")
            (folder,) = (path.parent for path in (root / "two" / task).rglob("run.json"))
            known[task] = Run(folder, done.stdout + done.stderr)
        return known[task]

    return train


@pytest.fixture(scope="session")
def one_process(root, words):
    """`one_process("qa")`: the same run by this process alone."""
    known: dict[str, Run] = {}

    def train(task: str) -> Run:
        if task not in known:
            assert (
                main(["train", *words(task, "one"), "trainer.strategy=auto", "trainer.devices=1"])
                == 0
            )
            (folder,) = (path.parent for path in (root / "one" / task).rglob("run.json"))
            known[task] = Run(folder, "")
        return known[task]

    return train


@pytest.fixture(scope="session")
def trained(root, command, words):
    """`trained("qa", "place", 2, ...)` is a run of so many processes; the same one each time.

    A place has one run of each task: other words need another place.
    """
    known: dict[tuple[str, str], tuple[tuple[str, ...], Run]] = {}

    def train(task: str, place: str, processes: int, *more: str) -> Run:
        place = f"trained-{place}"
        if (task, place) not in known:
            own = [word for word in words(task, place) if not word.startswith("trainer=ddp")]
            given = ["train", *own, f"trainer.devices={processes}", *more]
            if processes == 1:
                assert main(given) == 0
            else:
                done = command(*given)
                assert done.returncode == 0, done.stdout + done.stderr + logs(root / place / task)
            (folder,) = (path.parent for path in (root / place / task).rglob("run.json"))
            known[task, place] = more, Run(folder, "")
        said, run = known[task, place]
        assert said == more, f"{place} has a run of {said} already"
        return run

    return train


def logs(folder: Path) -> str:
    """What the other processes wrote."""
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("rank-*.log")]
    return "\n".join(texts)
