"""On a real Slurm of one node: submit, preempt, requeue into the same folder, finish."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import SlurmCluster, missing

from heed.tracking.csv_logger import read_metrics

pytestmark = [
    pytest.mark.faults,  # a cluster, and several commands on it
    pytest.mark.skipif(missing() != "", reason=f"a Slurm of its own {missing()}"),
]
PATIENCE = 400.0
LONG = ("trainer.max_steps=400", "trainer.val_check_interval=50", "trainer.max_epochs=-1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


def wait_for(condition: Callable[[], Any], what: Callable[[], str], seconds: float = PATIENCE):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what()
        time.sleep(0.5)
    return found


def records(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(place.rglob("run.json"))]


def saved(place: Path) -> bool:
    return bool(list(place.rglob("last.ckpt")))


@pytest.fixture
def batch(cluster: SlurmCluster, words, root: Path):
    """`batch("name", ...)` submits a training with two tasks; returns job, folder and output."""

    def submit(name: str, *more: str, options: tuple[str, ...] = ()) -> tuple[str, Path, Path]:
        script = root / f"{name}.sh"
        command = " ".join(
            f"'{word}'"
            for word in [sys.executable, "-m", "heed", "train", *words("sentiment", name)]
        )
        script.write_text(
            f"#!/bin/bash\nexport OMP_NUM_THREADS=1\nexec srun {command} {' '.join(LONG + more)}\n"
        )
        output = root / f"{name}.out"
        job = cluster.submit(
            *("--ntasks=2", "--requeue", "--open-mode=append", f"--output={output}"),
            *("--partition=low", *options, str(script)),
        )
        return job, root / name, output

    return submit


def finished(cluster: SlurmCluster, job: str, output: Path) -> dict[str, str]:
    """Wait for the end of a job that may have been put back, and start it without Slurm's delay."""

    def ended() -> bool:
        state = cluster.show(job)["JobState"]
        if state == "PENDING":
            cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        return state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    wait_for(ended, lambda: f"{cluster.show(job)}\n{output.read_text()[-3000:]}")
    return cluster.show(job)


def check_goes_on(place: Path, output: Path) -> None:
    """One folder, trained to the end in two sessions, and every step logged once."""
    (record,) = records(place)
    text = output.read_text()
    assert record["status"] == "done", text[-3000:]
    assert record["steps"] == 400
    assert len(record["sessions"]) == 1
    assert record["sessions"][0]["status"] == "stopped"
    (metrics,) = place.rglob("metrics.csv")
    steps = [int(row["step"]) for row in read_metrics(metrics) if row.get("train/loss")]
    assert steps == list(range(1, 401))
    assert len(list(place.rglob("config.yaml"))) == 1
    assert len(list(place.rglob("rank-1.log"))) == 1


def test_a_preempted_job_goes_on_in_its_folder(cluster, batch):
    """The plain sbatch path: a more important job takes the node, and Slurm puts ours back."""
    job, place, output = batch("preempted")
    wait_for(lambda: saved(place), lambda: output.read_text()[-3000:])
    cluster.submit("--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 3")
    shown = finished(cluster, job, output)
    assert shown["JobState"] == "COMPLETED", output.read_text()[-3000:]
    assert int(shown["Restarts"]) == 1
    check_goes_on(place, output)


def test_a_warned_job_puts_itself_back(cluster, batch):
    """SIGUSR1, as `sbatch --signal=USR1@90` sends it before the time is up."""
    job, place, output = batch("warned")
    wait_for(lambda: saved(place), lambda: output.read_text()[-3000:])
    assert cluster.run("scancel", "--signal=USR1", job).returncode == 0
    shown = finished(cluster, job, output)
    assert shown["JobState"] == "COMPLETED", output.read_text()[-3000:]
    assert int(shown["Restarts"]) == 1
    assert f"Putting job {job} back into the queue." in output.read_text()
    check_goes_on(place, output)


def test_a_cancelled_job_is_saved_and_stays_away(cluster, batch):
    job, place, output = batch("cancelled")
    wait_for(lambda: saved(place), lambda: output.read_text()[-3000:])
    assert cluster.run("scancel", job).returncode == 0
    assert finished(cluster, job, output)["JobState"] == "CANCELLED"
    wait_for(lambda: records(place)[0]["status"] == "stopped", lambda: output.read_text()[-3000:])


def test_a_sweep_is_an_array_of_jobs(cluster, command, words, root, monkeypatch):
    """`hydra/launcher=slurm`: one of the jobs is warned on the way, and goes on in its folder."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    place = root / "array"
    plain = [w for w in words("sentiment", "array") if not w.startswith("trainer=ddp")]
    done = command(
        *("train", "-m", "seed=1,2", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"),
        *("hydra.launcher.wait=false", *plain, "trainer.devices=1", *LONG),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("job ")]
    assert len(jobs) == 2
    first = records(place)[0]["seed"]
    wait_for(lambda: len(list(place.rglob("last.ckpt"))) == 2, lambda: done.stdout)
    cluster.run("scancel", "--signal=USR2", jobs[0])
    for job in jobs:
        shown = finished(cluster, job, root / "array.out")
        assert shown["JobState"] == "COMPLETED"
    assert int(cluster.show(jobs[0])["Restarts"]) == 1
    ended = records(place)
    assert [record["status"] for record in ended] == ["done", "done"]
    assert {record["seed"] for record in ended} == {1, 2}
    assert first in {1, 2}
    assert sorted(len(record["sessions"]) for record in ended) == [0, 1]


def test_trials_of_a_search_are_jobs(cluster, command, words, root, monkeypatch):
    """`sweep=optuna hydra/launcher=slurm`: asked for one after another, and pruned from afar."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    place = root / "search"
    taken = ("trainer=ddp", "optimizer.lr=")
    plain = [w for w in words("sentiment", "search") if not w.startswith((*taken, "paths.run_dir"))]
    done = command(
        *("train", "-m", "sweep=optuna", "sweep.sampler=grid", "sweep.n_trials=null"),
        *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "sweep.jobs=1"),
        *("sweep.pruner_options={n_startup_trials: 1}", "sweep.objectives=[val/loss]"),
        *(*plain, "optimizer.lr=3e-3,1e-1", "trainer.devices=1", "trainer.max_steps=15"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ended = records(place)
    assert [record["trial"]["number"] for record in ended] == [0, 1]
    assert ended[0]["status"] == "done"
    assert ended[1]["status"] in ("done", "pruned")
    assert "2 trials: " in done.stdout
