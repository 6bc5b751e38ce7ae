"""Going on when the last checkpoint is broken: from which, and what is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.resumable import resumable_checkpoint, steps_reached
from heed.errors import UserError
from heed.tracking.record import RunRecord


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    """A run folder without checkpoints, whose record says 31 steps."""
    record = RunRecord.create(tmp_path, task="sentiment", name="run", seed=1)
    record.update(steps=31)
    (tmp_path / "checkpoints").mkdir()
    return record


@pytest.fixture
def save(run: RunRecord) -> Callable[..., Path]:
    """`save("last", 7)` writes a checkpoint of step 7; weights only with `whole=False`."""
    from heed.training.checkpoint_io import RESUMABLE, AtomicCheckpointIO

    def write(name: str, step: int, *, whole: bool = True) -> Path:
        path = run.run_dir / "checkpoints" / f"{name}.ckpt"
        more = {key: {} for key in RESUMABLE} if whole else {}
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "global_step": step, **more}, path)
        return path

    return write


def break_(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def step_of(path: Path) -> int:
    from heed.training.checkpoint_io import load_checkpoint

    return int(load_checkpoint(path)["global_step"])


def test_a_good_one_is_taken_as_it_is(
    run: RunRecord, save: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    last = save("last", 23)
    save("step=000029-val_f1=1", 29)
    before = last.stat().st_ino
    assert resumable_checkpoint(run) == last
    assert last.stat().st_ino == before
    assert capsys.readouterr().err == ""


def test_the_one_before_stands_in(
    run: RunRecord, save: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    last, previous = save("last", 29), save("previous", 23)
    save("step=000019-val_f1=1", 19)
    break_(last)
    broken = last.read_bytes()
    assert resumable_checkpoint(run) == last
    assert step_of(last) == 23
    assert os.path.samefile(last, previous)
    assert last.with_name("last.ckpt.broken").read_bytes() == broken
    said = capsys.readouterr().err
    assert f"warning: {last} cannot be used: it does not end as a checkpoint does" in said
    assert "Going on from previous.ckpt at step 23 instead; 8 steps of work are lost." in said
    assert "The broken file is now last.ckpt.broken." in said


def test_the_newest_that_holds_everything_stands_in(
    run: RunRecord, save: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (save("last", 29), save("previous", 23)):
        break_(path)
    save("step=000017-val_f1=3", 17, whole=False)
    save("step=000011-val_f1=2", 11)
    save("step=000013-val_f1=1", 13)
    assert step_of(resumable_checkpoint(run)) == 13
    said = capsys.readouterr().err
    assert "Nor can previous.ckpt: it does not end as a checkpoint does" in said
    assert "Nor can step=000017-val_f1=3.ckpt: it holds weights only." in said
    assert "Going on from step=000013-val_f1=1.ckpt at step 13 instead; 18 steps of" in said


def test_a_missing_last_checkpoint_is_replaced(
    run: RunRecord, save: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    save("previous", 31)
    assert step_of(resumable_checkpoint(run)) == 31
    said = capsys.readouterr().err
    assert "last.ckpt cannot be used: it is missing." in said
    assert "no step after it is known of" in said
    assert "broken" not in said


def test_without_a_good_one_all_are_named(run: RunRecord, save: Callable[..., Path]) -> None:
    for path in (save("last", 29), save("previous", 23)):
        break_(path)
    save("step=000017-val_f1=3", 17, whole=False)
    before = sorted(os.listdir(run.run_dir / "checkpoints"))
    words = r"can be gone on from \(last\.ckpt: it does not end.*; .*previous\.ckpt: it does not"
    with pytest.raises(UserError, match=words) as caught:
        resumable_checkpoint(run)
    assert "step=000017-val_f1=3.ckpt: it holds weights only" in caught.value.problem
    assert sorted(os.listdir(run.run_dir / "checkpoints")) == before


def test_a_run_without_a_checkpoint(run: RunRecord) -> None:
    with pytest.raises(UserError, match="has no checkpoint"):
        resumable_checkpoint(run)


def test_how_far_a_run_had_got(run: RunRecord, save: Callable[..., Path]) -> None:
    assert steps_reached(run) == 31
    (run.run_dir / "metrics.csv").write_text("step,train/loss,val/f1\n37,1.5,\n41,,0.5\n")
    assert steps_reached(run) == 37
    save("step=000043-val_f1=3", 43)
    assert steps_reached(run) == 43


def test_training_goes_on_from_the_one_before(
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
    weights: Callable[..., dict[str, Any]],
) -> None:
    finished = Path(shutil.copytree(run_folder("sentiment"), tmp_path / "outputs" / "run"))
    words = ["trainer.max_steps=5", "callbacks.last.every_n_train_steps=1"]
    assert heed("train", f"resume={finished}", *words).code == 0
    last = finished / "checkpoints" / "last.ckpt"
    break_(last)
    answer = heed("train", f"resume={finished}", "trainer.max_steps=6")
    assert answer.code == 0, answer.err
    assert "Going on from previous.ckpt at step 4 instead; 1 step of work is lost." in answer.err
    assert record(finished)["steps"] == 6
    whole = ["task=sentiment", *tiny, "trainer.max_steps=6", f"paths.output_dir={tmp_path / 'w'}"]
    assert heed("train", *whole).code == 0
    one, other = weights(finished), weights(only_run(tmp_path / "w"))
    assert all(one[name].equal(other[name]) for name in one)


def test_nothing_stands_in_for_a_broken_best_checkpoint(
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Another model would be scored."""
    finished = Path(shutil.copytree(run_folder("sentiment"), tmp_path / "run"))
    best = finished / record(finished)["best_checkpoint"]
    break_(best)
    answer = heed("evaluate", f"run={finished}")
    assert answer.code == 2
    assert f"checkpoint {best} is broken" in answer.err
    assert "beside it there is " in answer.err
    assert "last.ckpt" in answer.err.partition("beside it there is ")[2]
