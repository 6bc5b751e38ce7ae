"""A run of wandb that was killed and resumed, offline: its segments join to one history."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
import time

import pytest

from heed.tracking.loggers import finish_loggers, wandb_logger
from heed.tracking.wandb_history import cut_history, records
from heed.tracking.wandb_logger import RECENT, import_wandb

wandb = import_wandb()

KILLED = """
    import json, os, signal, sys, time
    from heed.tracking.loggers import wandb_logger

    logger = wandb_logger(run_dir=sys.argv[1], run_name="run", task="qa", mode="offline")
    for step in range(1, 8):
        logger.log_metrics({"loss": 1 / step}, step=step)
        logger.save()
        if step == 4:
            print(json.dumps(logger.place(step)), flush=True)
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()


def segments(run_dir):
    return sorted((run_dir / "wandb").glob("offline-run-*"))


def history(run_dir):
    """The rows of all segments one after another, as the server would get them."""
    wandb.teardown()  # wandb's helper process writes on for a moment; this waits for it
    rows = []
    for folder in segments(run_dir):
        (file,) = folder.glob("*.wandb")
        for _, record in records(file):
            if record.HasField("history"):
                items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
                rows.append({name: json.loads(value) for name, value in items.items()})
    return [(row["_step"], row["trainer/global_step"], row["loss"]) for row in rows]


def log(run_dir, steps, *, place=None):
    """One session: log these steps, after going to a place."""
    logger = wandb_logger(run_dir=run_dir, run_name="run", task="qa", mode="offline")
    time.sleep(1.0 - time.time() % 1.0)  # wandb names a folder by the second
    logger.log_hyperparams({"seed": 1})  # starts the run before the checkpoint is read
    if place is not None:
        logger.go_to(place)
    for step in steps:
        logger.log_metrics({"loss": 1 / step}, step=step)
    return logger


WHOLE = [(step - 1, step, 1 / step) for step in range(1, 13)]


def test_segments_join_to_the_history_of_an_uninterrupted_run(tmp_path):
    first = log(tmp_path, range(1, 8))
    place = {"rows": 4, RECENT: []}  # a checkpoint after step 4: steps 5 to 7 will come again
    finish_loggers([first], succeeded=False)
    second = log(tmp_path, range(5, 10), place=place)
    assert second.place(9)["rows"] == 9
    finish_loggers([second])
    third = log(tmp_path, range(3, 13), place={"rows": 2, RECENT: []})  # from a still older one
    [line] = finish_loggers([third])
    assert history(tmp_path) == WHOLE
    assert len(segments(tmp_path)) == 3
    files = [next(folder.glob("*.wandb")) for folder in segments(tmp_path)]
    runs = {r.run.run_id for file in files for _, r in records(file) if r.HasField("run")}
    assert runs == {(tmp_path / "wandb" / "run_id").read_text().strip()}

    command = line.partition("upload it with: ")[2]
    assert command.startswith("wandb sync ")
    shell = f"{shlex.quote(sys.executable)} -m {command} --dry-run"
    shown = subprocess.run(
        shell, shell=True, capture_output=True, text=True, env={**os.environ, "WANDB_MODE": ""}
    )
    assert "Would sync 3 run(s)" in shown.stdout + shown.stderr


@pytest.mark.learning
@pytest.mark.parametrize("seconds", [0, 3])
def test_a_killed_session_is_gone_on_with(tmp_path, seconds):
    """Whether or not wandb has brought the rows to disk."""
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    killed = subprocess.run(
        [sys.executable, script, tmp_path / "run", str(seconds)], capture_output=True, text=True
    )
    assert killed.returncode == -9, killed.stderr
    finish_loggers([log(tmp_path / "run", range(5, 13), place=json.loads(killed.stdout))])
    assert history(tmp_path / "run") == WHOLE


def test_a_segment_that_was_uploaded_is_left_alone(tmp_path):
    finish_loggers([log(tmp_path, range(1, 8))])
    wandb.teardown()
    (folder,) = segments(tmp_path)
    (file,) = folder.glob("*.wandb")
    file.with_suffix(".wandb.synced").touch()
    before = file.read_bytes()
    cut_history([folder], 4)
    assert file.read_bytes() == before


def test_rows_that_a_server_has_are_not_sent_twice(tmp_path):
    class Run:
        """What a run is that a server knows: seven rows are there."""

        disabled, offline, starting_step = False, False, 7
        settings = type("Settings", (), {"sync_dir": str(tmp_path / "wandb" / "run-1")})

        def __init__(self):
            self.rows = []

        def log(self, row, *, step, commit):
            self.rows.append((step, row["trainer/global_step"], row["loss"]))

    logger = wandb_logger(run_dir=tmp_path, run_name="run", task="qa")
    logger._experiment = run = Run()
    logger.go_to({"rows": 4, RECENT: []})
    for step in range(5, 13):
        logger.log_metrics({"loss": 1 / step}, step=step)
    assert run.rows == WHOLE[7:]


def test_what_is_no_wandb_file_has_no_records(tmp_path):
    (tmp_path / "torn.wandb").write_bytes(b"")
    (tmp_path / "other.wandb").write_bytes(b"something else")
    for file in tmp_path.iterdir():
        assert list(records(file)) == []
    cut_history([tmp_path], 0)
