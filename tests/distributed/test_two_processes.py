"""Two processes are one run, and give what one process gives."""

from __future__ import annotations

import json

import pytest

from heed.cli import main

QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*Trying to infer the `batch_size`",
)
pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]
TASKS = ["translation", pytest.param("qa", marks=pytest.mark.learning)]


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_are_one_run(two_processes, root, task):
    run = two_processes(task)
    assert len(list((root / "two" / task).rglob("config.yaml"))) == 1
    assert (run.folder / "logs" / "rank-1.log").is_file()
    assert not (run.folder / "logs" / "rank-2.log").exists()
    assert run.record["status"] == "done"
    assert "Traceback" not in run.output
    assert "sync_dist" not in run.output
    assert "Traceback" not in (run.folder / "logs" / "rank-1.log").read_text(encoding="utf-8")
    assert (run.folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("task", TASKS)
def test_the_curve_is_that_of_one_process(two_processes, one_process, task):
    two, one = two_processes(task), one_process(task)
    for name in ("train/loss", "train/gradient_norm", "val/loss"):
        curve, expected = two.column(name), one.column(name)
        assert len(expected) >= (2 if name == "val/loss" else 11), name
        assert [step for step, _ in curve] == [step for step, _ in expected], name
        values = [value for _, value in expected]
        assert [value for _, value in curve] == pytest.approx(values, abs=1e-4), name
    losses = [value for _, value in one.column("train/loss")]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("task", TASKS)
def test_every_test_example_is_scored_once(two_processes, task):
    run = two_processes(task)
    lines = (run.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(29))


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_one_process_with_the_same_checkpoint(
    two_processes, task, tmp_path, capsys
):
    run = two_processes(task)
    output = tmp_path / "predictions.jsonl"
    assert main(["evaluate", f"run={run.folder}", f"output={output}"]) == 0
    report = json.loads(output.with_suffix(".scores.json").read_text(encoding="utf-8"))
    scores = {name: value for name, value in run.record["metrics"].items() if "test/" in name}
    assert scores.keys() == report["scores"].keys()
    for name, value in scores.items():
        exact = name not in ("test/loss", "test/perplexity")  # their sums are rounded in an order
        assert report["scores"][name] == (value if exact else pytest.approx(value, rel=1e-5)), name
    first = (run.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8")
    second = output.read_text(encoding="utf-8")
    ours, theirs = (
        [json.loads(line)["prediction"] for line in text.splitlines()] for text in (first, second)
    )
    assert ours == theirs
