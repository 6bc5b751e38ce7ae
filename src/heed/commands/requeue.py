"""A Slurm job that is warned of its end goes back into the queue, once its run is saved."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heed.training.callbacks.interrupt import Stopped

_SECONDS = 60.0


def requeue(config: dict[str, Any], stopped: Stopped) -> None:
    """Ask Slurm to start this job again if it was warned: by SIGUSR1, SIGUSR2 or a preemption.

    SIGTERM comes with a preemption, and from `scancel`, after which a job has to stay away.

    Args:
        config: The frozen config; `trainer.requeue` turns this off.
        stopped: How the run was stopped.
    """
    from heed.training.callbacks.interrupt import WARNINGS

    job = os.environ.get("SLURM_JOB_ID")
    if not job or not config["trainer"]["requeue"]:
        return
    if stopped.signum not in WARNINGS and not _is_preempted(job):
        return
    print(f"Putting job {job} back into the queue.", file=sys.stderr, flush=True)
    done = _scontrol("requeue", job)
    if done.returncode:
        reason = done.stderr.strip()
        print(f"Slurm did not take job {job} back: {reason}", file=sys.stderr, flush=True)


def _is_preempted(job: str) -> bool:
    """Whether Slurm has begun to preempt a job, and it runs on for the time of grace.

    A job that ends by itself within that time is not put back by Slurm. Without such a time Slurm
    does it, and the job is no longer running.
    """
    shown = _scontrol("show", "job", job, "-o").stdout
    facts = dict(word.partition("=")[::2] for word in shown.split() if "=" in word)
    since = facts.get("PreemptTime", "None")
    return facts.get("JobState") == "RUNNING" and since not in ("None", "Unknown", "N/A")


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["scontrol", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
