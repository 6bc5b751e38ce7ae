"""Trials of a search as Slurm jobs: the searcher asks, queues the run, and waits for its record."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.slurm import submit
from heed.commands.train import write_down
from heed.commands.trials import GRACE_SECONDS, Running
from heed.errors import EXIT_DONE, EXIT_FAILED, UserError
from heed.tracking.lock import run_lock
from heed.tracking.record import RunRecord

POLL_SECONDS = 1.0
ENDED = ("done", "pruned", "failed", "interrupted", "stopped")


class SlurmTrials:
    """Starts runs as jobs of their own; the same calls as `heed.commands.trials.Trials`.

    Args:
        folder: The study folder, where the jobs' scripts and output go too.
        settings: The values of `hydra.launcher`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self._jobs: dict[int, tuple[Running, Any]] = {}
        self._count = 0
        self._looked = 0.0

    def start(self, run_dir: Path, request: dict[str, Any]) -> Running:
        """Write the run down, unless it is gone on with, and submit its job.

        A run whose job has outlived its searcher is only waited for.
        """
        if "resume" not in request:
            with _typed(request["argv"]):
                write_down(
                    request["config"], request["overrides"], queued=True, trial=request["trial"]
                )
        self._count += 1
        running = Running(self._count, run_dir)
        if "resume" in request and _is_trained(run_dir):
            self._jobs[running.id] = (running, None)
            return running
        (job,) = submit([str(run_dir)], self.folder, self.settings)
        self._jobs[running.id] = (running, job)
        return running

    def poll(self) -> None:
        """See which jobs have ended, once a second."""
        if time.monotonic() - self._looked < POLL_SECONDS:
            return
        self._looked = time.monotonic()
        for running, job in list(self._jobs.values()):
            if not _is_trained(running.run_dir) if job is None else job.done():
                status = RunRecord.open(running.run_dir).fields["status"]
                running.code = EXIT_DONE if status in ENDED else EXIT_FAILED
                if status not in ENDED:
                    state = "" if job is None else f" {job.job_id} as {job.state}"
                    running.why = f"its job{state} ended without a word"
                del self._jobs[running.id]

    def stop(self, running: Running, signum: int = 0) -> None:
        """Cancel a job: Slurm sends SIGTERM, on which the run saves, and SIGKILL later."""
        if running.stopping is None:
            running.stopping = time.monotonic()
            self.kill(running)

    def press(self, running: Running) -> None:
        """Cancel a job again that has not ended."""
        if running.stopping and time.monotonic() > running.stopping + 2 * GRACE_SECONDS:
            self.kill(running)

    def kill(self, running: Running) -> None:
        """Cancel a job."""
        found = self._jobs.get(running.id)
        if found is not None and found[1] is not None:
            with contextlib.suppress(Exception):  # it may have ended by now
                found[1].cancel(check=False)

    def finish(self) -> None:
        """Cancel whatever still runs."""
        for running, _ in list(self._jobs.values()):
            self.kill(running)
        self._jobs.clear()


def _is_trained(run_dir: Path) -> bool:
    """Whether some process holds the run folder."""
    try:
        with run_lock(run_dir):
            return False
    except UserError:
        return True


@contextlib.contextmanager
def _typed(argv: list[str]) -> Iterator[None]:
    """Have the record say what would run this one alone."""
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before
