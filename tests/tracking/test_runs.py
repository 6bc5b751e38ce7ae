"""Runs in Python: two lines to a DataFrame."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from run_folders import make_run

from heed.errors import UserError
from heed.tracking.curves import read_curve
from heed.tracking.folder import METRICS
from heed.tracking.runs import Runs, runs

CURVE = "step,train/loss,val/accuracy\n1,2.0,\n3,1.0,\n,,50.0\n4,,55.5\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        make_run(
            tmp_path / "outputs" / f"seed={seed}",
            changes={"seed": seed, "optimizer.lr": 0.1**seed},
            metrics={"val/accuracy": 50.0 + seed, **({"test/accuracy": 9.0} if seed == 1 else {})},
            curve=CURVE if seed < 3 else "",
            started=f"2026-01-0{seed}T00:00:00+00:00",
        )
    return tmp_path / "outputs"


def test_a_frame_of_runs(root: Path) -> None:
    frame = runs(root).to_frame()
    assert list(frame["seed"]) == [3, 2, 1]
    assert list(frame["val/accuracy"]) == [53.0, 52.0, 51.0]
    assert frame["optimizer.lr"].tolist() == pytest.approx([0.001, 0.01, 0.1])
    assert frame["test/accuracy"].isna().tolist() == [True, True, False]
    assert list(frame.columns[:3]) == ["folder", "status", "fault"]
    assert frame.columns.is_unique
    assert frame["started"].dt.day.tolist() == [3, 2, 1]
    assert frame["ended"].isna().all()
    assert frame.groupby("choices.model")["val/accuracy"].mean().to_dict() == {"tiny": 52.0}


def test_conditions_as_on_the_command_line(root: Path) -> None:
    found = runs(root, "seed=1,2", "optimizer.lr>0.05")
    assert [one.seed for one in found] == [1]
    assert len(runs(root, "seed=7").to_frame()) == 0
    with pytest.raises(UserError, match="'seed' must be a condition"):
        runs(root, "seed")
    with pytest.raises(UserError, match="is none"):
        runs(root / "nowhere")


def test_curves_are_one_frame(root: Path) -> None:
    curves = runs(root).curves()
    assert list(curves.columns) == ["folder", "step", "train/loss", "val/accuracy"]
    assert curves.groupby("folder").size().tolist() == [4, 4]
    assert runs(root, "seed=3").curves().equals(pandas.DataFrame())


def test_runs_are_a_sequence(root: Path) -> None:
    found = runs(root)
    assert [one.seed for one in found[1:]] == [2, 1]
    assert isinstance(found[1:], Runs)
    assert found[0].seed == 3


def test_a_curve_of_one_metric(root: Path) -> None:
    run = root / "seed=1"
    assert read_curve(run, "train/loss") == [(1.0, 2.0), (3.0, 1.0)]
    assert read_curve(run, "val/accuracy") == [(3.0, 50.0), (4.0, 55.5)]
    assert read_curve(run, "val/bleu") == []
    assert read_curve(root / "seed=3", "train/loss") == []
    (run / METRICS).write_text("step,train/loss\n1,x\n", "utf-8")
    with pytest.raises(UserError, match="is broken"):
        read_curve(run, "train/loss")


def test_listing_and_comparing_load_nothing_heavy() -> None:
    code = (
        "import sys, heed.commands.runs, heed.commands.compare, heed.commands.prune_runs\n"
        "import heed.tracking.runs, heed.tracking.comparison, heed.tracking.figures\n"
        "heavy = {'torch', 'lightning', 'pandas', 'matplotlib', 'sacrebleu', 'scipy'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
