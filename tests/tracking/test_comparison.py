"""Comparisons of runs: figures, tests on predictions, and what is said where there can be none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import make_run
from scipy import stats

from heed.errors import UserError
from heed.tracking.comparison import SAME, Comparison, PairedTest, compare
from heed.tracking.comparison_tables import data_table, shown_table
from heed.tracking.digest import read_digest

BOOTSTRAP = PairedTest("bootstrap", 500, 1)
RANDOMIZATION = PairedTest("randomization", 4000, 1)
LABELS = ["good" if number % 2 else "bad" for number in range(40)]


def rows(wrong: Sequence[int], *, shift: int = 0, labels: Sequence[str] = LABELS) -> list[Any]:
    """Predictions that are right but for some examples."""
    return [
        {
            "index": number + shift,
            "prediction": ("bad" if label == "good" else "good") if number in wrong else label,
            "references": [label],
        }
        for number, label in enumerate(labels)
    ]


def folder(place: Path, name: str, seed: int, wrong: Sequence[int], **more: Any) -> Path:
    """A run with some wrong predictions, and the accuracy that they have."""
    accuracy = 100.0 * (1 - len(wrong) / len(LABELS))
    return make_run(
        place / name / str(seed),
        changes={"name": name, "seed": seed},
        metrics={"test/accuracy": accuracy, "test/loss": 1.0, "val/accuracy": 77.0},
        predictions=more.pop("predictions", rows(wrong)),
        **more,
    )


def compared(*folders: Path, testing: PairedTest | None = BOOTSTRAP, **options: Any) -> Comparison:
    return compare([read_digest(one) for one in folders], testing=testing, **options)


def test_means_and_intervals_over_seeds(tmp_path: Path) -> None:
    wrong = {"one": [range(4), range(5), range(8)], "two": [range(2), range(3), range(2)]}
    folders = [
        folder(tmp_path, name, seed, which)
        for name, seeds in wrong.items()
        for seed, which in enumerate(seeds)
    ]
    made = compared(*folders)
    assert [group.label for group in made.groups] == ["name=one", "name=two"]
    assert made.metrics == ["test/accuracy"]
    values = [90.0, 87.5, 80.0]
    found = made.spreads[0]["test/accuracy"]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert made.best("test/accuracy") == {1}

    # Of each example the mean over seeds, swapped between the systems.
    right = {
        name: np.mean([[n not in which for n in range(40)] for which in seeds], axis=0)
        for name, seeds in wrong.items()
    }
    wanted = stats.permutation_test(
        (right["one"], right["two"]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).pvalue
    found_p = compared(*folders, testing=RANDOMIZATION).p_values[1]["test/accuracy"]
    assert 0.005 < wanted < 0.2
    assert found_p == pytest.approx(wanted, abs=0.02)

    table = shown_table(made)
    assert table.columns == ["system", "runs", "accuracy", "95%", "p", "time"]
    assert [cell.text for cell in table.rows[0]][:4] == [
        *("name=one", "3", "85.83 ± 5.20", f"{low:.2f} to {high:.2f}"),
    ]
    assert [row[2].bold for row in table.rows] == [False, True]
    assert [row[4].text for row in table.rows] == ["-", f"{made.p_values[1]['test/accuracy']:.4f}"]
    data_row = data_table(made)
    values_by_column = [cell.value for cell in data_row.rows[1]]
    data = dict(zip(data_row.columns, values_by_column, strict=True))
    assert data["name"] == "two"
    assert data["seeds"] == [0, 1, 2]
    assert data["test/accuracy"] == pytest.approx(94.1666666)
    assert data["test/accuracy.p"] == made.p_values[1]["test/accuracy"]


def test_the_smaller_loss_is_the_best(tmp_path: Path) -> None:
    one = make_run(tmp_path / "1", changes={"name": "a"}, metrics={"test/loss": 1.0, "test/x": 1.0})
    two = make_run(tmp_path / "2", changes={"name": "b"}, metrics={"test/loss": 2.0, "test/x": 1.0})
    made = compared(one, two, metrics=["loss", "test/x"], testing=None)
    assert made.metrics == ["test/loss", "test/x"]
    assert made.best("test/loss") == {0}
    assert made.best("test/x") == {0, 1}
    with pytest.raises(UserError, match="metric=bleu is a score of none of the 2 runs; there is"):
        compared(one, two, metrics=["bleu"])


def test_without_a_test_the_validation_is_compared(tmp_path: Path) -> None:
    scores = {"val/loss": 1.0, "val/macro_f1": 3.0, "val/accuracy": 2.0}
    made = compared(make_run(tmp_path / "1", metrics=scores), testing=BOOTSTRAP)
    assert made.metrics == ["val/accuracy", "val/macro_f1"]
    assert made.notes == []
    assert made.p_values == [{}]
    second = make_run(tmp_path / "2", changes={"name": "b"}, metrics=scores)
    assert "no test of significance" in compared(tmp_path / "1", second).notes[0]


def notes(*folders: Path, **options: Any) -> str:
    made = compared(*folders, **options)
    assert all("test/accuracy" not in p for p in made.p_values[1:])
    return "\n".join(made.notes)


def test_other_examples_are_seen(tmp_path: Path) -> None:
    base = folder(tmp_path, "base", 1, [0])
    fewer = folder(tmp_path, "fewer", 1, [0], predictions=rows([0])[:30])
    moved = folder(tmp_path, "moved", 1, [0], predictions=rows([0], shift=1))
    other = ["bad", *LABELS[:1], *LABELS[2:]]
    changed = folder(tmp_path, "changed", 1, [0], predictions=rows([0], labels=other))
    assert "name=fewer: not tested, since the examples differ (40 and 30 examples" in notes(
        base, fewer
    )
    assert "name=moved: not tested, since the examples differ" in notes(base, moved)
    assert "example 1 has other references" in notes(base, changed)


def test_predictions_that_are_no_good_are_named(tmp_path: Path) -> None:
    base = folder(tmp_path, "base", 1, [0])
    none = folder(tmp_path, "none", 1, [0], predictions=[])
    said = notes(base, none)
    assert "has no test predictions; make them: heed evaluate run=" in said
    torn = folder(tmp_path, "torn", 1, [0])
    path = torn / "predictions" / "test.jsonl"
    path.write_text(path.read_text("utf-8")[:-9], "utf-8")
    assert "test.jsonl is broken" in notes(base, torn)
    old = [{k: v for k, v in row.items() if k != "references"} for row in rows([0])]
    older = folder(tmp_path, "older", 1, [0], predictions=old)
    assert "does not say what is right" in notes(base, older)
    assert "name=none: not tested" in notes(none, base)  # the baseline itself
    wrong = folder(tmp_path, "wrong", 1, [0], predictions=rows([0, 1]))
    assert (
        "accuracy not tested, since the predictions of 1 give 95.0000 and its record says 97.5"
        in (notes(base, wrong))
    )


def test_notes_on_what_makes_a_comparison_weak(tmp_path: Path) -> None:
    first = folder(tmp_path, "one", 1, [0], data={"test": {"fingerprint": "a"}})
    second = folder(tmp_path, "two", 1, [0, 1], data={"test": {"fingerprint": "b"}})
    assert "2 different test sets" in "\n".join(compared(first, second).notes)
    pooled = compared(first, second, by=["model"])
    assert "model=tiny: several runs have the same seed" in "\n".join(pooled.notes)
    assert "model=tiny: its runs differ in name as well" in "\n".join(pooled.notes)
    assert "one.p" not in pooled.p_values


def test_outputs_that_score_alike_have_no_p_value(tmp_path: Path) -> None:
    made = compared(folder(tmp_path, "one", 1, [3]), folder(tmp_path, "two", 1, [3]))
    assert made.p_values == [{}, {"test/accuracy": SAME}]
    assert shown_table(made).rows[1][3].text == "same"
    table = data_table(made)
    assert table.rows[1][table.columns.index("test/accuracy.p")].value == 1.0
