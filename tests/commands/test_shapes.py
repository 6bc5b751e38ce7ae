"""Which model shapes a task takes: the others are refused by name; a decoder can do what it may."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.commands.check import main as check
from heed.commands.compose import config_dir
from heed.commands.rules import validate

SHAPES = ("encoder", "decoder", "encoder_decoder")
TASKS = {
    path.stem: set(yaml.safe_load(path.read_text("utf-8")).get("shapes") or SHAPES)
    for path in (config_dir() / "task").glob("*.yaml")
}
PAIRS = list(itertools.product(sorted(TASKS), SHAPES))


@pytest.mark.parametrize(
    ("task", "shape"), [(task, shape) for task, shape in PAIRS if shape not in TASKS[task]]
)
def test_a_shape_that_makes_no_sense_is_refused(
    task: str, shape: str, frozen: Callable[..., Any], told: Callable[..., list[str]]
) -> None:
    faults = told(validate, frozen(f"task={task}", f"model.shape={shape}"))
    (words,) = [fault for fault in faults if fault.startswith("model.shape must be ")]
    assert f"for task={task}, but is {shape!r}; try model.shape=" in words


@pytest.mark.parametrize(
    ("task", "shape"), [(task, shape) for task, shape in PAIRS if shape in TASKS[task]]
)
def test_a_shape_that_makes_sense_passes(task: str, shape: str, frozen: Callable[..., Any]) -> None:
    validate(frozen(f"task={task}", f"model.shape={shape}"))


def test_what_writes_needs_a_decoder() -> None:
    for task in ("translation", "summarization", "generative_qa"):
        assert TASKS[task] == {"encoder_decoder", "decoder"}
    for task in ("sentiment", "qa"):
        assert TASKS[task] == set(SHAPES)


def test_nothing_is_made_before_a_shape_is_refused(
    heed: Callable[..., Any], tmp_path: Path
) -> None:
    answer = heed("train", "model.shape=encoder", f"paths.output_dir={tmp_path}")
    assert answer.code == 2
    assert "model.shape must be encoder_decoder or decoder for task=translation" in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.iterdir())


def test_a_decoder_translates(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[[Path], Path]
) -> None:
    """Trained, tested, evaluated again, and asked: the commands need not know the shape."""
    words = ["model.shape=decoder", "task.bidirectional_prefix=true"]
    answer = heed("train", *words, *tiny, f"paths.output_dir={tmp_path}")
    assert answer.code == 0, answer.err
    run = only_run(tmp_path)
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert {"test/bleu", "test/perplexity"} <= set(record["metrics"])

    again = heed("evaluate", f"run={run}")
    assert again.code == 0, again.err
    assert f"{record['metrics']['test/loss']:.3g}" in again.out

    answer = heed("predict", f"run={run}", typed="the dog runs\nLena sleeps\n")
    assert answer.code == 0, answer.err
    assert len(answer.out.splitlines()) == 2


def test_a_decoders_cost_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["model.shape=decoder"]) == 0
    told = capsys.readouterr().out
    assert "backbone.decoder" in told
    assert "backbone.encoder" not in told
