"""Searches by processes that are killed, that share a study, and that run trials side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from heed.sweeps.outcomes import is_lost
from heed.sweeps.study import open_study

LR = "optimizer.lr=tag(log, interval(1e-4,1e-2))"
PATIENCE = 240.0


class Command(NamedTuple):
    """A command that runs, and the file that it prints to."""

    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> tuple[int, str]:
        """Its exit code and all that it has printed."""
        return self.process.wait(PATIENCE), self.log.read_text("utf-8")


@pytest.fixture
def command(tiny: list[str], tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """`command(...)` starts a search in this test's folder."""

    def start(*words: str) -> Command:
        given = ["train", "-m", "sweep=optuna", "task=sentiment", *tiny, LR, "logger=null", *words]
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "heed", *given], cwd=tmp_path, stdout=file, stderr=file
            )
        started.append(process)
        return Command(process, log)

    started: list[subprocess.Popen[bytes]] = []
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "sentiment" / "default" / "study"


def trials(folder: Path) -> list[Any]:
    found: list[Any] = open_study(folder, None, "study").get_trials()
    return found


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


LONG = ("trainer.max_steps=60", "trainer.val_check_interval=5", "trainer.max_epochs=-1")


@pytest.mark.learning
def test_a_killed_search_goes_on_and_runs_nothing_twice(command, folder: Path):
    first = command("sweep.n_trials=3", *LONG)
    wait_for(lambda: bool(list(folder.glob("trial-0001/checkpoints/last.ckpt"))))
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive  # neither the server nor a trial stays
    before = record(folder / "trial-0000")
    code, out = command("sweep.n_trials=3", *LONG).end()
    assert code == 0, out
    assert "trial 1 was lost with its process, and is run again" in out
    found = trials(folder)
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert is_lost(found[1])
    assert found[2].params == found[1].params
    assert record(folder / "trial-0000") == before
    again = record(folder / "trial-0001")
    assert again["status"] == "done"
    assert again["sessions"][0]["status"] in ("running", "stopped")  # its work was kept
    assert not (folder / "trial-0002").exists()


@pytest.mark.learning
def test_two_commands_share_a_study(command, folder: Path):
    both = [command("sweep.n_trials=6") for _ in range(2)]
    ends = [one.end() for one in both]
    assert [code for code, _ in ends] == [0, 0], ends
    found = trials(folder)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 6
    runners = {trial.user_attrs["runner"] for trial in found}
    assert len(runners) == 2
    assert len({trial.params["optimizer.lr"] for trial in found}) == 6
    assert len(list(folder.glob("trial-*/run.json"))) == 6


@pytest.mark.faults
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_trials_run_side_by_side_with_their_share_of_the_cores(command, folder: Path):
    code, out = command("sweep.n_trials=4", "sweep.jobs=2", "trainer.max_steps=30", *LONG[1:]).end()
    assert code == 0, out
    found = trials(folder)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 4
    spans = [(trial.datetime_start, trial.datetime_complete) for trial in found]
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans if a is not b)
    for trial in found:
        threads = record(folder / f"trial-{trial.number:04d}")["computing"]["threads"]
        assert threads == len(os.sched_getaffinity(0)) // 2


@pytest.mark.faults
def test_a_trial_that_hangs_is_ended_after_its_time(command, folder: Path):
    code, out = command(
        *("sweep.n_trials=1", f"sweep.trial_timeout={2 / 3600}", "trainer.max_steps=100000"),
        *("trainer.max_epochs=-1", "trainer.val_check_interval=100000"),
    ).end()
    assert code == 1, out
    assert "ran longer than sweep.trial_timeout" in out
    assert [trial.state.name for trial in trials(folder)] == ["FAIL"]
    assert record(folder / "trial-0000")["status"] in ("stopped", "failed")


@pytest.mark.faults
def test_a_second_ctrl_c_stops_at_once(command, folder: Path):
    one = command("sweep.n_trials=1", "trainer.max_steps=100000", "trainer.max_epochs=-1").process
    wait_for(lambda: (folder / "trial-0000" / "checkpoints" / "last.ckpt").exists())
    children = psutil.Process(one.pid).children(recursive=True)
    trial = next(child for child in children if child.children() == [])
    os.kill(trial.pid, signal.SIGSTOP)  # it cannot answer
    one.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert one.poll() is None
    one.send_signal(signal.SIGINT)
    assert one.wait(timeout=20) == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.faults
def test_trials_are_jobs(command, folder: Path):
    code, out = command(
        *("sweep.n_trials=2", "hydra/launcher=slurm", "hydra.launcher.cluster=local", *LONG[1:]),
        *("sweep.pruner_options={n_startup_trials: 1}",),
    ).end()
    assert code == 0, out
    found = trials(folder)
    assert {trial.state.name for trial in found} <= {"COMPLETE", "PRUNED"}
    for trial in found:
        kept = record(folder / f"trial-{trial.number:04d}")
        assert kept["status"] in ("done", "pruned")
        assert kept["trial"] == {"study": "study", "number": trial.number}
        assert trial.intermediate_values  # it reported from its job
    assert list((folder / "slurm").iterdir())


@pytest.mark.learning
def test_trials_of_several_processes_get_one_config(command, folder: Path):
    code, out = command(
        "sweep.n_trials=2", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"
    ).end()
    assert code == 0, out
    for trial in trials(folder):
        run = folder / f"trial-{trial.number:04d}"
        assert record(run)["status"] == "done"
        assert (run / "logs" / "rank-1.log").exists()
        assert record(run)["computing"]["processes"] == 2
    assert len({trial.params["optimizer.lr"] for trial in trials(folder)}) == 2
