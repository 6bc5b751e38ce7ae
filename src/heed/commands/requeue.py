"""A Slurm job that was warned of its end goes back into the queue, once its run is saved."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heed.training.callbacks.interrupt import Stopped

_SECONDS = 60.0


def requeue(config: dict[str, Any], stopped: Stopped) -> None:
    """Ask Slurm to start this job again, if it was SIGUSR1 or SIGUSR2 that stopped it.

    SIGTERM is not answered so: it comes from `scancel`, or from a preemption after which Slurm puts
    the job back by itself.

    Args:
        config: The frozen config; `trainer.requeue` turns this off.
        stopped: How the run was stopped.
    """
    from heed.training.callbacks.interrupt import WARNINGS

    job = os.environ.get("SLURM_JOB_ID")
    if not job or stopped.signum not in WARNINGS or not config["trainer"]["requeue"]:
        return
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else job
    print(f"Putting job {name} back into the queue.", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", name], capture_output=True, text=True, timeout=_SECONDS
        )
        reason = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        print(f"Slurm did not take job {name} back: {reason}", file=sys.stderr, flush=True)
