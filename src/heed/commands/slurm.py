"""Runs as Slurm jobs: every run of a sweep is one, submitted with submitit.

A job's work is `heed train resume=RUN_FOLDER`. The folder holds the frozen config before the job is
submitted, so nothing is composed on the cluster, and a job that Slurm starts again goes on in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.tracking.record import RunRecord

_POLL_SECONDS = 1.0
_TOLD_SECONDS = 60.0


class RunJob:
    """What a Slurm job does: train one run, from where it stands.

    Args:
        run_dir: The run folder, which all machines see.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir

    def __call__(self) -> str:
        """Train; returns the run folder.

        Raises:
            RuntimeError: If the training failed.
        """
        from heed.commands.train import main

        code = main([f"resume={self.run_dir}"])
        if code:
            raise RuntimeError(f"heed train resume={self.run_dir} ended with exit code {code}")
        return self.run_dir

    def checkpoint(self) -> Any:
        """What submitit is to submit when a warning comes before training has begun: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(run_dirs: Sequence[str], folder: Path, settings: dict[str, Any]) -> list[Any]:
    """Submit a job for each run folder.

    Args:
        run_dirs: The run folders, each with its config.
        folder: Where submitit keeps its scripts and the output of the jobs.
        settings: The values of `hydra.launcher`.

    Returns:
        submitit's jobs, in the same order.

    Raises:
        UserError: If submitit is not installed, or there is no Slurm, or it refuses the jobs.
    """
    try:
        import submitit
    except ImportError:
        raise UserError(
            "hydra/launcher=slurm needs the package submitit, which is not installed",
            "pip install 'heed-nlp[slurm]'",
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder / "slurm", cluster=settings["cluster"])
        executor.update_parameters(**_parameters(settings))
        with executor.batch():  # one array of jobs
            return [executor.submit(RunJob(run_dir)) for run_dir in run_dirs]
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(
            f"Slurm did not take the jobs: {_first_line(error)}",
            "see hydra.launcher.* with --cfg hydra; hydra.launcher.cluster=local needs no Slurm",
        ) from error


def _parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """submitit's names for our settings; those that only Slurm knows begin with slurm_."""
    shared = {
        "name": "heed",
        "timeout_min": settings["timeout_minutes"],
        "nodes": settings["nodes"],
        "tasks_per_node": settings["tasks_per_node"],
        "cpus_per_task": settings["cpus_per_task"],
        "gpus_per_node": settings["gpus_per_node"],
        "mem_gb": settings["memory_gb"],
        "slurm_partition": settings["partition"],
        "slurm_signal_delay_s": settings["warning_seconds"],
        "slurm_array_parallelism": settings["jobs_at_once"],
        "slurm_setup": list(settings["setup"]) or None,
        "slurm_additional_parameters": {"requeue": True, **settings["options"]},
    }
    return {name: value for name, value in shared.items() if value is not None}


def wait(jobs: Sequence[Any], run_dirs: Sequence[str]) -> None:
    """Wait until all jobs have ended, and say now and then how they stand."""
    told, waiting = "", 0.0
    while True:
        states = [_state(job, run_dir) for job, run_dir in zip(jobs, run_dirs, strict=True)]
        line = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        if line != told or waiting >= _TOLD_SECONDS:
            print(f"jobs: {line}", flush=True)
            told, waiting = line, 0.0
        if all(job.done() for job in jobs):
            return
        time.sleep(_POLL_SECONDS)
        waiting += _POLL_SECONDS


def _state(job: Any, run_dir: str) -> str:
    status = RunRecord.open(Path(run_dir)).fields["status"]
    return str(status) if status != "queued" else str(job.state).lower()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
