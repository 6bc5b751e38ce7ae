"""A run from end to end: what it leaves behind, what it says, and that it repeats itself."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TASKS = ("translation", "summarization", "sentiment", "qa", "generative_qa")
SCORES = {
    "translation": {"bleu", "chrf", "loss", "perplexity"},
    "summarization": {"rouge1", "rouge2", "rougeL", "rougeLsum", "loss", "perplexity"},
    "sentiment": {"accuracy", "macro_f1", "calibration_error", "loss"},
    "qa": {"exact_match", "f1", "loss"},
    "generative_qa": {"exact_match", "f1", "loss", "perplexity"},
}
PREDICTED = {
    "sentiment": {"index", "prediction", "probabilities", "references"},
    "qa": {"index", "prediction", "score", "start", "end", "references"},
}


@pytest.mark.parametrize("task", TASKS)
def test_a_run_folder_holds_everything(
    task: str, run_folder: Callable[..., Path], lines: Callable[..., list[dict[str, Any]]]
) -> None:
    run = run_folder(task)
    found = {path.name for path in run.iterdir()}
    assert {"config.yaml", "overrides.yaml", "run.json", "metrics.csv", "tokenizer"} <= found
    assert (run / "checkpoints" / "last.ckpt").is_file()
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    assert config["task"]["name"] == task
    assert config["model"]["d_model"] == 16
    overrides = yaml.safe_load((run / "overrides.yaml").read_text("utf-8"))
    assert overrides[:2] == [f"task={task}", "name=shared"]

    predictions = lines(run / "predictions" / "test.jsonl")
    assert [one["index"] for one in predictions] == list(range(13))
    keys = PREDICTED.get(task, {"index", "prediction", "references"})
    assert all(set(one) >= keys for one in predictions)
    assert all(isinstance(text, str) for one in predictions for text in one["references"])
    assert any(one["references"] for one in predictions)


@pytest.mark.parametrize("task", TASKS)
def test_the_record_tells_what_came_of_it(
    task: str, run_folder: Callable[..., Path], record: Callable[..., dict[str, Any]]
) -> None:
    run = run_folder(task)
    fields = record(run)
    assert (fields["status"], fields["steps"], fields["seed"]) == ("done", 3, 42)
    assert {f"val/{name}" for name in SCORES[task]} <= set(fields["metrics"])
    assert {f"test/{name}" for name in SCORES[task]} <= set(fields["metrics"])
    assert set(fields["phases"]) == {"preparation", "training", "test"}
    assert fields["data"]["train"]["records"] == 61
    assert fields["tokenizer"]["fingerprint"]

    best = fields["best_checkpoint"]
    assert best.startswith("checkpoints/step=")
    assert (run / best).is_file()


def test_validation_scores_are_those_of_the_best_checkpoint(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    words = ["task.monitor=val/loss", "task.mode=min", "trainer.val_check_interval=1"]
    words += ["callbacks.checkpoint.save_top_k=-1"]  # so that worse ones are saved after the best
    answer = heed("train", "task=sentiment", *tiny, *words, f"paths.output_dir={tmp_path}")
    assert answer.code == 0, answer.err
    fields = record(only_run(tmp_path))
    with (only_run(tmp_path) / "metrics.csv").open(encoding="utf-8") as file:
        validations = [row for row in csv.DictReader(file) if row["val/loss"]]
    assert len(validations) == 3
    best = min(validations, key=lambda row: float(row["val/loss"]))
    assert best is not validations[-1], "the test needs a best that is not the last"
    for name in ("val/loss", "val/accuracy", "val/macro_f1"):
        assert fields["metrics"][name] == pytest.approx(float(best[name]))
    assert fields["best_checkpoint"].startswith(f"checkpoints/step={int(best['step']):06d}")


def test_signatures_are_recorded(
    run_folder: Callable[..., Path], record: Callable[..., dict[str, Any]]
) -> None:
    signatures = record(run_folder("translation"))["signatures"]
    assert "|tok:13a|" in signatures["bleu"]
    assert "|case:mixed|" in signatures["bleu"]


def test_it_says_what_it_is_and_what_came_of_it(trained: Callable[..., Any]) -> None:
    run, answer = trained("translation")
    for words in ("task = translation", "model = tiny", "61 examples", "parameters", "Done in"):
        assert words in answer.out
    assert f"run folder  outputs/translation/shared/{run.name}\n" in answer.out
    assert "validation  val loss" in answer.err
    assert "best validation bleu" in answer.out
    assert "bleu signature" in answer.out


@pytest.mark.parametrize("task", TASKS)
def test_libraries_do_not_talk_over_it(task: str, trained: Callable[..., Any]) -> None:
    _, answer = trained(task)
    said = (answer.out + answer.err).lower()
    for noise in (
        "warning",
        "gpu available",
        "tpu available",
        "litlogger",
        "tip:",
        "seed set",
        "deprecat",
    ):
        assert noise not in said


@pytest.mark.parametrize("task", ["translation", "sentiment", "qa"])
def test_the_next_commands_work_when_pasted(
    task: str, trained: Callable[..., Any], heed: Callable[..., Any]
) -> None:
    _, answer = trained(task)
    commands = [line.strip() for line in answer.out.partition("Next:\n")[2].splitlines()]
    predict, evaluate = commands
    echo, text, bar, program, *words = shlex.split(predict)
    assert (echo, bar, program, words[0]) == ("echo", "|", "heed", "predict")
    predicted = heed(*words, typed=text + "\n")
    assert (predicted.code, predicted.out.count("\n")) == (0, 1), predicted.err
    evaluated = heed(*shlex.split(evaluate)[1:], "overwrite=true")
    assert evaluated.code == 0, evaluated.err
    assert "(validation)" in evaluated.out


def test_the_same_command_gives_the_same_numbers(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    run_folder: Callable[..., Path],
    weights: Callable[..., dict[str, Any]],
    only_run: Callable[..., Path],
) -> None:
    first = run_folder("translation")
    answer = heed("train", "task=translation", *tiny, f"paths.output_dir={tmp_path}")
    assert answer.code == 0, answer.err
    second = only_run(tmp_path)
    assert _numbers(second) == _numbers(first)
    predictions = [run / "predictions" / "test.jsonl" for run in (first, second)]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()
    one, other = weights(first), weights(second)
    assert all(one[name].equal(other[name]) for name in one)


def _numbers(run: Path) -> list[dict[str, str]]:
    """metrics.csv without what a clock says."""
    clocks = ("second", "time", "wait")
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if not any(c in name for c in clocks)}
            for row in csv.DictReader(file)
        ]


def test_another_seed_gives_other_numbers(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    run_folder: Callable[..., Path],
    only_run: Callable[..., Path],
) -> None:
    answer = heed("train", "task=sentiment", *tiny, "seed=43", f"paths.output_dir={tmp_path}")
    assert answer.code == 0, answer.err
    assert _numbers(only_run(tmp_path)) != _numbers(run_folder("sentiment"))


def test_a_sweep_goes_on_past_a_run_that_fails(
    heed: Callable[..., Any], tiny_model: list[str], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("text,label\n" + "a fine film,good\na poor film,bad\n" * 30)
    bad.write_text("colour,label\nred,good\nblue,bad\n")
    answer = heed(
        "train",
        "-m",
        "task=sentiment",
        "data=local",
        f"data.path={bad},{good}",
        *tiny_model,
        f"paths.output_dir={tmp_path / 'runs'}",
    )
    assert answer.code == 1
    assert "sweep: 2 runs, 1 failed" in answer.out
    told = "failed: data.columns.text must name the column of bad.csv"
    assert f"[1] data.path={bad}: {told}" in answer.out
    statuses = sorted(
        json.loads(path.read_text())["status"] for path in (tmp_path / "runs").rglob("run.json")
    )
    assert statuses == ["done", "failed"]


def test_without_checkpoints_no_command_is_offered_that_needs_one(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[..., Path]
) -> None:
    answer = heed(
        "train",
        "task=sentiment",
        *tiny,
        "callbacks=none",
        "logger=null",
        f"paths.output_dir={tmp_path}",
    )
    assert answer.code == 0, answer.err
    run = only_run(tmp_path)
    assert not list(run.rglob("*.ckpt"))
    assert not (run / "metrics.csv").exists()
    assert "Done in" in answer.out
    assert "heed predict" not in answer.out
    asked = heed("predict", f"run={run}", typed="fine\n")
    assert asked.code == 2
    assert "has no checkpoint (its run ended as 'done')" in asked.err


def test_wandb_beside_csv_stays_offline_and_quiet(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[..., Path]
) -> None:
    answer = heed(
        "train",
        "task=sentiment",
        *(word for word in tiny if not word.startswith("logger=")),
        "logger=[csv,wandb]",
        "logger.wandb.mode=offline",
        f"paths.output_dir={tmp_path}",
    )
    assert answer.code == 0, answer.err
    run = only_run(tmp_path)
    assert (run / "metrics.csv").is_file()
    assert "wandb sync" in answer.out
    assert "api key" not in (answer.out + answer.err).lower()


def test_a_task_of_ones_own_from_the_folder_one_stands_in(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path, only_run: Callable[..., Path]
) -> None:
    (tmp_path / "my_sentiment.py").write_text(
        "from heed.tasks.sentiment import Sentiment\n\n\n"
        "class Doubled(Sentiment):\n"
        "    def loss(self, batch):\n"
        "        loss = super().loss(batch)\n"
        "        return type(loss)(2 * loss.sum, loss.count)\n"
    )
    task = tmp_path / "conf" / "task" / "doubled.yaml"
    task.parent.mkdir(parents=True)
    task.write_text("defaults: [sentiment]\n_target_: my_sentiment.Doubled\n")
    words = ["--config-dir", "conf", "task=doubled", *tiny, "paths.output_dir=runs"]
    answer = heed("train", *words, where=tmp_path)
    assert answer.code == 0, answer.err
    run = only_run(tmp_path / "runs")
    loss = json.loads((run / "run.json").read_text())["metrics"]["val/loss"]
    assert loss > 1.2  # about 2 ln 2: twice the loss of a guess between two labels
    asked = heed("predict", f"run={run}", typed="fine\n", where=tmp_path)
    assert asked.code == 0, asked.err
