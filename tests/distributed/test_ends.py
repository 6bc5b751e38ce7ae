"""How runs of two processes end, and what may come after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from heed.tracking.csv_logger import read_metrics

pytestmark = pytest.mark.learning  # a command that starts two processes takes its time
PATIENCE = 300.0


def status(folder) -> list[str]:
    """How the runs under a folder ended, in the order of their beginning."""
    records = sorted(folder.rglob("run.json"))
    return [json.loads(record.read_text(encoding="utf-8"))["status"] for record in records]


@pytest.fixture
def training(words, root):
    """`training("name")` begins a run without end; returns it once it has saved a checkpoint."""
    begun: list[subprocess.Popen[str]] = []

    def begin(name: str) -> subprocess.Popen[str]:
        command = ["train", *words("sentiment", name), "trainer.max_steps=-1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "heed", *command, "trainer.max_epochs=-1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        begun.append(process)
        end = time.monotonic() + PATIENCE
        while not list((root / name).rglob("last.ckpt")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.2)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()


def other_process(process: subprocess.Popen[str]) -> psutil.Process:
    """Rank 1 of a run."""
    children = psutil.Process(process.pid).children()
    (found,) = (child for child in children if "heed.commands.rank" in child.cmdline())
    return found


def test_a_process_that_dies_ends_the_run(training, root):
    """The first must not wait for one that is gone, and says where to look."""
    process = training("killed")
    other_process(process).kill()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"process 1 ended with exit code {-signal.SIGKILL}" in output
    assert "rank-1.log" in output
    assert status(root / "killed") == ["failed"]


def test_the_others_end_with_the_first(training):
    process = training("orphaned")
    other = other_process(process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    psutil.wait_procs([other], timeout=60.0)
    assert not other.is_running() or other.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("signum", "end"), [(signal.SIGTERM, "stopped")])
def test_a_stopped_run_is_saved_by_all(training, root, signum, end):
    process = training("stopped")
    other = other_process(process)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signum
    assert "heed train resume=" in output
    assert "ended with exit code" not in output
    assert status(root / "stopped") == [end]
    assert not other.is_running() or other.status() == psutil.STATUS_ZOMBIE


def test_a_resumed_run_goes_on_as_one_that_never_stopped(two_processes, command, words, root):
    whole = two_processes("translation")
    place = "resumed"
    first = command("train", *words("translation", place), "trainer.max_steps=7")
    assert first.returncode == 0, first.stderr
    (folder,) = (path.parent for path in (root / place).rglob("run.json"))
    second = command("train", f"resume={folder}", "trainer.max_steps=11")
    assert second.returncode == 0, second.stderr
    rows = read_metrics(folder / "metrics.csv")
    curve = [float(row["train/loss"]) for row in rows if row.get("train/loss")]
    assert curve == [value for _, value in whole.column("train/loss")]
    assert status(root / place) == ["done"]


def test_a_sweep_runs_its_points_one_after_the_other(command, words, root):
    """The process that sweeps is rank 0 of every run, each time with others of its own."""
    done = command("train", "-m", "seed=1,2", *words("sentiment", "swept"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(root / "swept") == ["done", "done"]
    records = [json.loads(p.read_text()) for p in sorted((root / "swept").rglob("run.json"))]
    assert [record["seed"] for record in records] == [1, 2]
