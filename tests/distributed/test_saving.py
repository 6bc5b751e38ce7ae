"""Checkpoints of two processes: in the background, by the clock, and on a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from heed.training.checkpoint_io import load_checkpoint

pytestmark = pytest.mark.learning  # starts processes


def run_folder(place):
    (folder,) = (path.parent for path in place.rglob("run.json"))
    return folder


def test_background_history_and_clock_change_nothing_learned(two_processes, command, words, root):
    more = [
        "trainer.asynchronous_checkpoints=true",
        "callbacks.last.every_n_minutes=0.0001",
        "callbacks.history.every_n_train_steps=4",
        "callbacks.history.keep=1",
    ]
    done = command("train", *words("sentiment", "background"), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run_folder(root / "background")
    other = two_processes("sentiment").folder
    one = load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    two = load_checkpoint(other / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(one[name].equal(two[name]) for name in one)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names[:2] == ["last.ckpt", "previous.ckpt"]
    assert "step=000008.ckpt" in names
    record = json.loads((folder / "run.json").read_text())
    assert record["checkpoints"]["count"] == len(names)
    assert f"checkpoints     {len(names)} files, " in done.stdout


def test_a_full_disk_ends_all_processes_at_the_end_only(two_processes, words, root):
    two_processes("sentiment")  # so that its data are in the cache
    done = subprocess.run(
        [sys.executable, "-m", "heed", "train", *words("sentiment", "full"),
         "model.d_feed_forward=2048"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Training goes on, and saves again at the next occasion" in done.stderr
    assert "last.ckpt could not be written" in done.stderr.splitlines()[-1]
    folder = run_folder(root / "full")
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("failed", 11)
    assert list((folder / "checkpoints").iterdir()) == []
