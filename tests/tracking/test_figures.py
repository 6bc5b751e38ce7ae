"""What the pictures of a comparison draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run

from heed.tracking import figures
from heed.tracking.comparison import Comparison, compare
from heed.tracking.digest import read_digest
from heed.tracking.figures import learning_curves, score_against_cost

Drawn = dict[str, list[tuple[list[float], list[float], float]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """The panels of the figure made last, by their label of y."""
    kept: list[Any] = []
    real = figures._png
    monkeypatch.setattr(
        figures, "_png", lambda figure, axes: kept.append(figure) or real(figure, axes)
    )
    return lambda: {axes.get_ylabel(): axes for axes in kept[-1].axes}


def two_systems(place: Path, *, curves: bool = True) -> Comparison:
    """A system of two runs, which share two of their three steps, and one of a single run."""
    folders = []
    for name, seed in (("$a_b$", 1), ("$a_b$", 2), ("_other", 1)):
        rows = f"1,{seed},\n2,{3 * seed},\n{2 + seed},9,50\n" if curves else ""
        folders.append(
            make_run(
                place / name / str(seed),
                changes={"name": name, "seed": seed},
                metrics={"test/accuracy": 10.0 * seed},
                curve=rows and f"step,train/loss,val/accuracy\n{rows}",
                phases={"training": 100.0 * seed},
                throughput={"tokens": 7 * seed},
            )
        )
    return compare([read_digest(folder) for folder in folders])


def test_learning_curves(tmp_path: Path, drawn: Callable[[], dict[str, Any]]) -> None:
    content = learning_curves(two_systems(tmp_path))
    assert content is not None
    assert content.startswith(b"\x89PNG")
    panels = drawn()
    assert list(panels) == ["train/loss", "val/accuracy"]
    lines = panels["train/loss"].get_lines()
    data = [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]
    assert data == [
        ([1.0, 2.0, 3.0], [1.0, 3.0, 9.0]),
        ([1.0, 2.0, 4.0], [2.0, 6.0, 9.0]),
        ([1.0, 2.0], [1.5, 4.5]),  # the mean, where both have logged
        ([1.0, 2.0, 3.0], [1.0, 3.0, 9.0]),
    ]
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] == colours[2] != colours[3]
    assert lines[2].get_linewidth() > lines[0].get_linewidth()
    assert panels["train/loss"].get_legend_handles_labels()[1] == [r"name=\$a_b\$", "name=_other"]


def test_scores_against_cost(tmp_path: Path, drawn: Callable[[], dict[str, Any]]) -> None:
    made = two_systems(tmp_path)
    assert score_against_cost(made, "test/accuracy") is not None
    (axes,) = {id(one): one for one in drawn().values()}.values()  # both panels have one label
    assert axes.get_xlabel() == "tokens seen in training"
    dots = [[tuple(map(float, dot)) for dot in one.get_offsets()] for one in axes.collections]
    assert dots == [[(7.0, 10.0), (14.0, 20.0)], [(10.5, 15.0)], [(7.0, 10.0)]]
    assert score_against_cost(made, "test/bleu") is None


def test_runs_that_logged_nothing_have_no_picture(tmp_path: Path) -> None:
    assert learning_curves(two_systems(tmp_path, curves=False)) is None
