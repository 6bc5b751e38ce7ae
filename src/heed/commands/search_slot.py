"""One trial of a search under way, and what is found in the folder of its run."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from heed.commands.trials import GRACE_SECONDS, Running
from heed.errors import UserError
from heed.sweeps.space import Params
from heed.tracking.folder import is_run_folder
from heed.tracking.record import RunRecord
from heed.training.mailbox import Mailbox


@dataclass
class Slot:
    """One trial under way, whose runs (one for each seed) come one after another.

    Args:
        number: Of the trial.
        params: Its point.
        folder: Its folder.
        seeds: Of its runs; [None] for one run with the config's seed.
        values: What its finished runs came to.
        place: Among the trials that run at once, for devices.
    """

    number: int
    params: Params
    folder: Path
    seeds: list[int | None]
    place: int
    values: list[list[float]] = field(default_factory=list)
    running: Running | None = None
    mailbox: Mailbox | None = None
    killed: str = ""  # why the search has ended the run

    @property
    def seed(self) -> int | None:
        return self.seeds[len(self.values)]

    @property
    def run_dir(self) -> Path:
        return self.folder if self.seed is None else self.folder / f"seed={self.seed}"


def left_over(run_dir: Path) -> RunRecord | None:
    """The record in a folder where a run was begun before."""
    return RunRecord.open(run_dir) if is_run_folder(run_dir) else None


def wait_until_free(run_dir: Path) -> None:
    """Wait for a process that is saving its work before it ends."""
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=2 * GRACE_SECONDS)
    except Timeout:
        raise UserError(f"{run_dir} is still in use by another process") from None
    lock.release()


def death(code: int, log: str) -> str:
    """What became of a process that could not say so itself."""
    if code >= 0:
        return f"its process ended with exit code {code}; its log: {log}"
    name = signal.Signals(-code).name
    hint = ", as happens when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}; its log: {log}"
