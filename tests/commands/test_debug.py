"""The modes of debug=."""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.training.step_profiler import PARTS


@pytest.fixture
def debug(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[..., Path]
) -> Callable[..., tuple[Path, Any]]:
    """Trains in a debug mode, whose own steps count."""

    def train(*words: str) -> tuple[Path, Any]:
        own = [w for w in tiny if not w.startswith(("trainer.max_steps", "trainer.log_every"))]
        answer = heed("train", *own, *words, f"paths.output_dir={tmp_path}")
        assert answer.code == 0, answer.err
        return only_run(tmp_path), answer

    return train


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_one_step_trains_validates_and_tests(
    debug: Callable[..., Any], record: Callable[..., dict[str, Any]]
) -> None:
    run, _ = debug("debug=one_step")
    fields = record(run)
    assert fields["steps"] == 1
    assert {"train/loss", "val/bleu", "test/bleu"} <= set(fields["metrics"])
    assert fields["name"] == "debug_one_step"


@pytest.mark.parametrize(
    "task", [["task=sentiment"], ["task=translation", "task.label_smoothing=0"]]
)
def test_one_batch_is_learned_by_heart(
    task: list[str], debug: Callable[..., Any], record: Callable[..., dict[str, Any]]
) -> None:
    words = ["model.d_model=64", "model.d_feed_forward=128", "data.max_tokens=300"]
    words += ["trainer.max_steps=120"]
    run, answer = debug(*task, "debug=overfit", *words, "optimizer.lr=0.01")
    curve = losses(run)
    chance = math.log(2) if "sentiment" in task[0] else math.log(300)
    assert curve[0] > 0.5 * chance
    assert curve[-1] < 0.05
    assert not [name for name in record(run)["metrics"] if name.startswith(("val/", "test/"))]
    assert f"  training        loss {curve[-1]:.4g}" in answer.out


def test_a_profile_can_be_read(debug: Callable[..., Any]) -> None:
    run, answer = debug("task=sentiment", "debug=profile", "trainer.max_steps=12")
    report, trace = run / "profile" / "fit-steps.txt", run / "profile" / "trace.json.gz"
    text = report.read_text()
    assert text.rstrip() in answer.out
    assert f"  profile         {report}" in answer.out
    assert f"  profile         {trace}" in answer.out
    parts = re.findall(r"^  (\w+) +([\d.]+) ms +([\d.]+)%", text, re.MULTILINE)
    shares = {name: float(share) for name, _, share in parts}
    assert list(shares) == [*PARTS, "step"]
    assert sum(shares.values()) - shares["step"] == pytest.approx(100.0, abs=0.5)
    assert min(shares[name] for name in ("forward", "backward", "optimizer")) > 1.0
    assert re.search(r"^  aten::\w+ +\d+ +[\d.]+ +[\d.]+%$", text, re.MULTILINE)
    assert "aten::" in gzip.decompress(trace.read_bytes()).decode()


def test_a_profiler_that_is_not_one_is_refused(heed: Callable[..., Any]) -> None:
    answer = heed("train", "trainer.profiler=stepz")
    assert answer.code == 2
    assert "trainer.profiler must be one of steps, simple, advanced, pytorch or null" in answer.err


def test_anomalies_are_looked_for(debug: Callable[..., Any]) -> None:
    run, _ = debug("task=sentiment", "debug=anomaly", "trainer.max_steps=1")
    assert "detect_anomaly: true" in (run / "config.yaml").read_text()
    assert len(losses(run)) == 1


def test_limited_data(debug: Callable[..., Any], record: Callable[..., dict[str, Any]]) -> None:
    run, answer = debug("task=sentiment", "debug=limit", "data.limit_examples=7")
    fields = record(run)
    assert fields["data"]["train"]["records"] == 7
    assert fields["epochs"] == 2
    assert "7 examples" in answer.out


def test_the_module_of_a_nan_is_looked_for(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[..., Path]
) -> None:
    words = ["task=sentiment", "debug=nan", "optimizer.lr=1e30", "scheduler.warmup_steps=0"]
    answer = heed("train", *tiny, *words, f"paths.output_dir={tmp_path}")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert "error: step 2: a number is not finite" in answer.err
    assert "backbone." in answer.err
    assert f"heed replay run={only_run(tmp_path)}" in answer.err
