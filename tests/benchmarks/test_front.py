"""The front of the benchmarks: loops in turns, a suite at tiny sizes, the guard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_loops_take_turns_and_count_their_tokens():
    from harness.turns import Lane, in_turns

    seen: list[tuple[str, int]] = []

    def loop(name: str):
        def train(turnstile):
            for batch in turnstile:
                seen.append((name, batch))

        return train

    lanes = [Lane(name, loop(name), [2, 3], tokens=lambda batch: 10 * batch) for name in "ab"]
    turns = in_turns(lanes, rounds=2, steps=3, warm_up=1)

    assert [name for name, _ in seen] == list("abaaabbbbbbaaa")
    assert [batch for name, batch in seen if name == "a"] == [2, 3, 2, 3, 2, 3, 2]
    assert [turn.tokens for turn in turns["a"]] == [80, 70]
    assert all(turn.steps == 3 and turn.wall > 0 for turn in turns["b"])


def test_a_loop_that_fails_is_told():
    from harness.turns import Lane, in_turns

    def train(turnstile):
        for batch in turnstile:
            raise ValueError(f"no {batch}")

    with pytest.raises(RuntimeError, match="has failed") as failure:
        in_turns([Lane("a", train, [7])], rounds=1, steps=1, warm_up=0)
    assert "no 7" in str(failure.value.__cause__)


def test_a_ratio_is_the_median_over_rounds():
    from harness.results import Result, Row

    result = Result("s", "t")
    result.rows = [Row("a", "x", [2.0, 40.0, 6.0]), Row("b", "x", [1.0, 10.0, 2.0])]
    result.compare("a", "b", "x")
    assert result.ratios[0].value == 3.0  # of 2, 4 and 3; the medians' would be 6 / 2 too
    result.compare("a", "c", "x")
    assert len(result.ratios) == 1
    assert "a / b, x: 3" in result.table()


def write(folder: Path, name: str, value: float, better: str) -> None:
    folder.mkdir(exist_ok=True)
    found = {"ratios": {"r": {"value": value, "better": better}}}
    (folder / f"{name}.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("better", "now", "code", "mark"),
    [
        ("higher", 1.70, 1, "FELL"),
        ("higher", 1.80, 0, "same"),
        ("higher", 2.50, 0, "better"),
        ("lower", 2.40, 1, "FELL"),
        ("lower", 2.20, 0, "same"),
    ],
)
def test_the_guard_names_what_fell(tmp_path: Path, better: str, now: float, code: int, mark: str):
    write(tmp_path / "then", "suite-machine", 2.0, better)
    write(tmp_path / "now", "suite-machine", now, better)
    write(tmp_path / "now", "suite-another_machine", 0.1, better)
    command = [sys.executable, str(FOLDER / "guard.py"), str(tmp_path / "now")]
    command += ["--recorded", str(tmp_path / "then")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert mark in done.stdout
    assert "another" not in done.stdout


def test_the_guard_needs_something_to_compare(tmp_path: Path):
    command = [sys.executable, str(FOLDER / "guard.py"), str(tmp_path)]
    assert subprocess.run(command, capture_output=True).returncode == 2


@pytest.mark.learning
def test_a_suite_runs_from_the_front(tmp_path: Path):
    command = [sys.executable, str(FOLDER / "run.py"), "training_small", "--quick", "--rounds=1"]
    done = subprocess.run([*command, "--to", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("training_small-*.json")
    found = json.loads(path.read_text())
    arms = {row["arm"] for row in found["rows"]}
    assert {"heed train", "heed, bare loop", "torch.nn.Transformer, fp32"} <= arms
    assert found["ratios"]["heed train / heed, bare loop, real tokens/s"]["value"] > 0
    assert all(row["median"] > 0 for row in found["rows"])
    assert path.with_suffix(".png").stat().st_size > 5000


def test_a_search_is_compared_by_heeds_best_arm():
    from harness.results import Result
    from suites.scripts import add_search

    rates = {"heed, a": [10.0, 12.0], "heed, b": [20.0, 30.0], "peer": [10.0, 10.0]}
    arms = {name: {"rates": found, "median": sum(found) / 2} for name, found in rates.items()}
    result = Result("decoding", "")
    add_search(result, "tokens/s", arms)
    assert [(ratio.name, ratio.value) for ratio in result.ratios] == [
        ("heed, b / peer, tokens/s", 2.5)
    ]


def test_plots_have_bars_and_lines(tmp_path: Path):
    from harness.plots import plot
    from harness.results import Result, Row

    kept = {"machine": {"cpu": "C", "threads": 2}, "versions": {"torch": "2"}}
    for x in (None, 512.0):
        result = Result("s", "t", rows=[Row("heed", "ms", [1.0, 2.0], x), Row("b", "ms", [3.0], x)])
        plot(result, kept, tmp_path / f"{x}.png")
        assert (tmp_path / f"{x}.png").read_bytes().startswith(b"\x89PNG")
