"""Going on with a run: which, with what changes, and from what."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.resume import resume_folder
from heed.commands.run_paths import latest_run, open_run
from heed.errors import UserError
from heed.tracking.csv_logger import read_metrics
from heed.tracking.lock import run_lock


@pytest.fixture
def finished(run_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a finished run, in `tmp_path`."""
    return Path(shutil.copytree(run_folder("sentiment"), tmp_path / "outputs" / "run"))


def test_more_steps_go_on_where_it_ended(
    heed: Callable[..., Any],
    tiny: list[str],
    finished: Path,
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
    weights: Callable[..., dict[str, Any]],
) -> None:
    answer = heed("train", f"resume={finished}", "trainer.max_steps=5")
    assert answer.code == 0, answer.err
    fields = record(finished)
    assert (fields["status"], fields["steps"]) == ("done", 5)
    assert fields["overrides"] == ["trainer.max_steps=5"]
    assert fields["sessions"][0]["status"] == "done"
    assert "max_steps: 5" in (finished / "config.yaml").read_text()

    words = ["task=sentiment", *tiny, "trainer.max_steps=5", f"paths.output_dir={tmp_path / 'w'}"]
    assert heed("train", *words).code == 0
    one, other = weights(finished), weights(only_run(tmp_path / "w"))
    assert all(one[name].equal(other[name]) for name in one)


def test_a_finished_run_says_that_nothing_is_left(
    heed: Callable[..., Any], finished: Path, record: Callable[..., dict[str, Any]]
) -> None:
    before = (finished / "checkpoints" / "last.ckpt").read_bytes()
    scores = record(finished)["metrics"]
    answer = heed("train", f"resume={finished}")
    assert answer.code == 0, answer.err
    assert "There was nothing left to train after step 3; for more give trainer.max_steps=N" in (
        answer.out
    )
    assert (finished / "checkpoints" / "last.ckpt").read_bytes() == before
    assert record(finished)["metrics"] == pytest.approx(scores)


def test_the_command_that_began_it_may_be_repeated(
    heed: Callable[..., Any], tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    words = ["task=sentiment", "name=shared", *tiny, "resume=latest"]
    answer = heed("train", *words, where=tmp_path)
    assert answer.code == 0, answer.err
    assert "run folder  outputs/run\n" in answer.out


def test_latest_is_the_one_begun_last(finished: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(finished, tmp_path / "outputs" / "older"))
    broken = Path(shutil.copytree(finished, tmp_path / "outputs" / "broken"))
    fields = json.loads((older / "run.json").read_text())
    (older / "run.json").write_text(json.dumps({**fields, "started": "2001-01-01T00:00:00+00:00"}))
    (broken / "run.json").write_text("{")
    assert latest_run(tmp_path / "outputs") == finished
    assert resume_folder(["resume=latest", f"paths.output_dir={tmp_path / 'outputs'}"]) == finished


def test_other_commands_know_the_latest_run_too(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record, config = open_run("latest")
    assert record.run_dir == Path("outputs/run")
    assert config["paths"]["run_dir"] == "outputs/run"


def test_latest_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the latest run was asked for, .* none under .*none"):
        latest_run(tmp_path / "none")


@pytest.mark.parametrize("word", ["resume=null", "resume=", "seed=1"])
def test_without_resume_a_run_is_new(word: str) -> None:
    assert resume_folder([word]) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=small"], "in which model cannot be changed, but here is model=small"),
        (["seed=1"], "in which seed cannot be changed"),
        (["trainer.max_step=9"], "is not a key of the run's config; did you mean 'trainer.max_st"),
        (["trainer.max_steps=many"], "trainer.max_steps must be"),
        (["-m", "seed=1,2"], "resume= goes on with one run, and has no -m"),
    ],
)
def test_mistakes_are_named_and_change_nothing(
    words: list[str], told: str, heed: Callable[..., Any], finished: Path
) -> None:
    before = (finished / "run.json").read_bytes(), (finished / "config.yaml").read_bytes()
    answer = heed("train", f"resume={finished}", *words)
    assert answer.code == 2
    assert told in answer.err
    assert ((finished / "run.json").read_bytes(), (finished / "config.yaml").read_bytes()) == before


def test_a_folder_that_is_no_run(heed: Callable[..., Any], finished: Path, tmp_path: Path) -> None:
    answer = heed("train", "resume=outputs/rum", where=tmp_path)
    assert answer.code == 2
    assert "a run folder holds a run.json, but outputs/rum does not exist; did you" in answer.err


def test_a_run_without_a_checkpoint(
    heed: Callable[..., Any], finished: Path, record: Callable[..., dict[str, Any]]
) -> None:
    shutil.rmtree(finished / "checkpoints")
    answer = heed("train", f"resume={finished}")
    assert answer.code == 2
    assert "has no checkpoint (its run ended as 'done'); train it again" in answer.err
    assert record(finished)["sessions"] == []


def test_only_broken_checkpoints(
    heed: Callable[..., Any], finished: Path, record: Callable[..., dict[str, Any]]
) -> None:
    for path in (finished / "checkpoints").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    answer = heed("train", f"resume={finished}", "trainer.max_steps=5")
    assert answer.code == 2
    assert f"no checkpoint in {finished / 'checkpoints'} can be gone on from" in answer.err
    assert record(finished)["sessions"] == []


def test_a_moved_folder_goes_on(
    heed: Callable[..., Any], finished: Path, tmp_path: Path, record: Callable[..., dict[str, Any]]
) -> None:
    moved = finished.rename(tmp_path / "moved here")
    answer = heed("train", f"resume='{moved}'".replace("'", ""), "trainer.max_steps=4")
    assert answer.code == 0, answer.err
    assert record(moved)["steps"] == 4
    assert "run='" in answer.out, "a path with a space is quoted in what to type next"


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    heed: Callable[..., Any], finished: Path, record: Callable[..., dict[str, Any]]
) -> None:
    """As SIGKILL leaves it: no checkpoint, a record that says "running"."""
    rows = read_metrics(finished / "metrics.csv")
    losses = [row["train/loss"] for row in rows if row["train/loss"]]
    shutil.rmtree(finished / "checkpoints")
    shutil.rmtree(finished / "tokenizer")
    fields = record(finished)
    fields["status"] = "running"
    (finished / "run.json").write_text(json.dumps(fields), encoding="utf-8")
    answer = heed("train", f"resume={finished}")
    assert answer.code == 0, answer.err
    assert "There is no checkpoint yet" in answer.out
    assert record(finished)["status"] == "done"
    assert len(record(finished)["sessions"]) == 1
    rows = read_metrics(finished / "metrics.csv")
    assert [row["train/loss"] for row in rows if row["train/loss"]][-len(losses) :] == losses
    assert list((finished / "checkpoints").glob("*.ckpt"))


def test_two_commands_in_one_folder(heed: Callable[..., Any], finished: Path) -> None:
    before = (finished / "run.json").read_bytes()
    with run_lock(finished):
        answer = heed("train", f"resume={finished}", "trainer.max_steps=5")
    assert answer.code == 2
    assert f"{finished} is in use by another heed command (process {os.getpid()} on" in answer.err
    assert (finished / "run.json").read_bytes() == before
    assert heed("train", f"resume={finished}", "trainer.max_steps=5").code == 0


def test_a_run_that_ended_with_an_epoch_goes_on_with_the_next(
    heed: Callable[..., Any], tiny: list[str], only_run: Callable[..., Path], tmp_path: Path
) -> None:
    """`max_steps` ends it at an epoch's last batch, at which no validation was due otherwise."""
    epochs = ("task=sentiment", "trainer.limit_train_batches=5", "trainer.val_check_interval=3")
    losses = {}
    for place, steps in (("whole", 8), ("part", 5)):
        words = [word for word in tiny if not word.startswith(("paths.output_dir", "trainer.max_"))]
        output = f"paths.output_dir={tmp_path / place}"
        answer = heed("train", *words, *epochs, output, f"trainer.max_steps={steps}")
        assert answer.code == 0, answer.err
        folder = only_run(tmp_path / place)
        if place == "part":
            assert heed("train", f"resume={folder}", "trainer.max_steps=8").code == 0
        rows = read_metrics(folder / "metrics.csv")
        losses[place] = [row["train/loss"] for row in rows if row["train/loss"]]
    assert len(losses["whole"]) == 8
    assert losses["part"] == losses["whole"]
