"""Numbers of two runs: the same, within a tolerance, or not."""

from __future__ import annotations

import json
import math

import pytest

from heed.tracking.agreement import (
    Agreement,
    compare_curves,
    compare_metrics,
    compare_predictions,
    distance_of,
    overall,
    verdict_of,
)
from heed.tracking.saved_run import SavedRun


def run(folder, *, metrics=None, status="done"):
    folder.mkdir(exist_ok=True)
    return SavedRun(folder, {"metrics": metrics or {}, "status": status}, {})


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (1.0, 1.0, 0.0),
        (0.1, math.nextafter(0.1, 1.0), math.nextafter(0.1, 1.0) - 0.1),
        ("nan", math.nan, 0.0),
        ("inf", "inf", 0.0),
        ("inf", "-inf", math.inf),
        (1.0, "nan", math.inf),
        (1.0, None, math.inf),
        ("2.5", 2, 0.5),
    ],
)
def test_how_far_two_numbers_are_apart(one, other, distance):
    assert distance_of(one, other) == distance
    assert distance_of(other, one) == distance


def test_the_smallest_difference_is_not_bit_for_bit():
    least = math.nextafter(0.1, 1.0) - 0.1
    assert verdict_of(0.0, 0.0) == "bit for bit"
    assert verdict_of(least, 0.0) == "differs"
    assert verdict_of(least, 1e-9) == "within tolerance"
    assert verdict_of(math.inf, 1e9) == "differs"


def test_the_worst_verdict_counts():
    same, near, far = (Agreement("x", v) for v in ("bit for bit", "within tolerance", "differs"))
    unknown = Agreement("x", "not compared")
    assert overall([same, near, far, unknown]) == "differs"
    assert overall([same, near, unknown]) == "within tolerance"
    assert overall([same, unknown]) == "bit for bit"
    assert overall([unknown]) == overall([]) == "not compared"


def test_metrics_that_only_one_run_has(tmp_path):
    found = compare_metrics(
        run(tmp_path / "a", metrics={"x": 1.0, "y": 2.0}),
        run(tmp_path / "b", metrics={"x": 1.0, "z": 3.0}),
        tolerance=10.0,
    )
    assert [(a.name, a.verdict, a.detail) for a in found] == [
        ("x", "bit for bit", ""),
        ("y", "differs", "not made again"),
        ("z", "differs", "not recorded"),
    ]


HEAD = "step,train/loss,train/step_seconds,val/loss\n"


def curves(tmp_path, one, other, *, status="done", tolerance=0.0):
    for name, text in (("a", one), ("b", other)):
        run(tmp_path / name)
        (tmp_path / name / "metrics.csv").write_text(HEAD + text)
    return compare_curves(
        run(tmp_path / "a", status=status), run(tmp_path / "b"), tolerance=tolerance
    )


def test_curves_without_what_a_clock_says(tmp_path):
    found = curves(tmp_path, "1,2.5,0.1,\n2,2.0,0.1,3.5\n", "1,2.5,0.9,\n2,2.0,0.8,3.5\n")
    assert (found.verdict, found.detail) == ("bit for bit", "3 of 3 logged numbers the same")


def test_the_first_step_that_differs_is_named(tmp_path):
    found = curves(tmp_path, "1,2.5,,\n2,2.0,,\n3,1.0,,\n", "1,2.5,,\n2,2.25,,\n3,1.5,,\n")
    assert found.verdict == "differs"
    assert found.detail == (
        "1 of 3 logged numbers the same; first at step 2: train/loss 2.0 / 2.25"
    )
    assert found.distance == 0.5
    loose = curves(tmp_path, "1,2.5,,\n2,2.0,,\n", "1,2.5,,\n2,2.25,,\n", tolerance=0.25)
    assert loose.verdict == "within tolerance"


def test_a_run_that_went_on_for_longer(tmp_path):
    one, other = "1,2.5,,\n", "1,2.5,,\n2,2.0,,\n"
    found = curves(tmp_path, one, other, tolerance=100.0)
    assert found.verdict == "differs"
    assert "step 2 has train/loss in the second only" in found.detail
    assert curves(tmp_path, one, other, status="stopped").verdict == "bit for bit"
    assert curves(tmp_path, other, one, tolerance=100.0).verdict == "differs"


def test_no_curves(tmp_path):
    found = compare_curves(run(tmp_path / "a"), run(tmp_path / "b"), 0.0)
    assert found.verdict == "not compared"


def predictions(tmp_path, one, other, tolerance):
    for name, rows in (("a", one), ("b", other)):
        path = run(tmp_path / name).folder / "predictions"
        path.mkdir(exist_ok=True)
        (path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return compare_predictions(run(tmp_path / "a"), run(tmp_path / "b"), tolerance)


def test_predictions_with_probabilities(tmp_path):
    one = [{"index": 0, "prediction": "x", "probabilities": {"x": 0.75, "y": 0.25}}]
    near = [{"index": 0, "prediction": "x", "probabilities": {"x": 0.5, "y": 0.5}}]
    far = [{"index": 0, "prediction": "y", "probabilities": {"x": 0.5, "y": 0.5}}]
    assert predictions(tmp_path, one, one, 0.0).verdict == "bit for bit"
    assert predictions(tmp_path, one, near, 0.0).verdict == "differs"
    assert predictions(tmp_path, one, near, 0.25).verdict == "within tolerance"
    assert predictions(tmp_path, one, far, 0.25).verdict == "differs"
    assert predictions(tmp_path, one, [*one, *one], 9.0).verdict == "differs"
    older = [{"index": 0, "prediction": "x", "probabilities": {"x": 0.75, "y": 0.25}}]
    newer = [{**older[0], "references": ["x"]}]
    assert predictions(tmp_path, older, newer, 0.0).verdict == "bit for bit"
