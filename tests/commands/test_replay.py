"""`heed replay`: the faulty step of a run, made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def faulty(heed: Callable[..., Any], tiny: list[str], place: Path) -> Path:
    """A run whose learning rate blew the weights up in its first step."""
    words = ["task=sentiment", "optimizer.lr=1e30", "scheduler.warmup_steps=0"]
    answer = heed("train", *tiny, *words, "data.max_tokens=301", f"paths.output_dir={place}/faulty")
    assert answer.code == 1
    assert "error: step 2: the loss is not finite (loss nan" in answer.err
    (run,) = (path.parent for path in (place / "faulty").rglob("run.json"))
    return run


def test_module_gradients_and_rows_are_named(heed: Callable[..., Any], faulty: Path) -> None:
    answer = heed("replay", f"run={faulty}", "rows=2")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert "loss           nan  (in training nan)" in lines
    (first,) = (line for line in lines if line.startswith("first "))
    assert "backbone.encoder.layers.0" in first
    assert "its input: -" in first
    assert [line for line in lines if line.startswith("gradients      not finite: backbone")]
    assert "batch 1 of process 0, epoch 0, batch 1 of it" in answer.out
    rows = [line for line in lines if line.strip().startswith("-> ")]
    assert len(rows) == 2
    assert {row.strip() for row in rows} <= {"-> positive", "-> negative"}


def test_the_record_says_how_the_run_ended(
    faulty: Path, record: Callable[..., dict[str, Any]]
) -> None:
    fields = record(faulty)
    assert fields["status"] == "failed"
    assert fields["reason"].startswith("not finite: step 2")
    (fault,) = fields["faults"]
    assert (fault["step"], fault["action"], fault["fault"]) == (2, "stop", "step=000002")


def test_what_does_not_come_again_is_said(heed: Callable[..., Any], faulty: Path) -> None:
    weights = faulty / "faults/step=000002/weights.pt"
    kept = weights.read_bytes()
    state = torch.load(weights, weights_only=True)["state_dict"]
    small = {name: w * 1e-30 if w.is_floating_point() else w for name, w in state.items()}
    torch.save({"state_dict": small}, weights)
    try:
        answer = heed("replay", f"run={faulty}", "rows=0")
    finally:
        weights.write_bytes(kept)
    assert answer.code == 0
    assert "It does not come again" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fault=step=000003"], "fault=step=000003 is not in"),
        (["rows=-1"], "rows must be a whole number of at least 0, but is -1"),
        (["model.d_model=32"], "the weights of the fault must fit the run's model"),
    ],
)
def test_mistakes(heed: Callable[..., Any], faulty: Path, words: list[str], said: str) -> None:
    answer = heed("replay", f"run={faulty}", *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_run_without_faults(heed: Callable[..., Any], run_folder: Callable[..., Path]) -> None:
    answer = heed("replay", f"run={run_folder('sentiment')}")
    assert answer.code == 2
    assert "has no faulty step to replay" in answer.err
