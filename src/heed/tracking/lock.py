"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from heed.errors import UserError

_LOCK, _HOLDER = ".lock", ".lock.json"


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold a run folder for the time of the block.

    The operating system lets go of the lock when the process ends, however it ends, so a killed run
    can be gone on with at once.

    Raises:
        UserError: If another process holds the folder; it is named.
    """
    lock = FileLock(run_dir / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{run_dir} is in use by another heed command{_holder(run_dir)}",
            "wait until it ends, or stop it with Ctrl-C or SIGTERM",
        ) from None
    try:
        holder = {"process": os.getpid(), "host": platform.node()}
        (run_dir / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        (run_dir / _HOLDER).unlink(missing_ok=True)
        lock.release()


def holder_is_gone(run_dir: Path) -> bool:
    """Whether the process that last held a run folder was killed before it could let go.

    The lock itself is not tried, which might refuse it to a process that begins just then. False
    too where the holder is on another machine, since nothing can be known of it.
    """
    try:
        holder = json.loads((run_dir / _HOLDER).read_text(encoding="utf-8"))
        if holder["host"] != platform.node():
            return False
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False
    return False


def is_held(run_dir: Path) -> bool:
    """Whether a process trains in a run folder now, as far as can be known; writes nothing."""
    return (run_dir / _HOLDER).is_file() and not holder_is_gone(run_dir)


def _holder(run_dir: Path) -> str:
    try:
        holder = json.loads((run_dir / _HOLDER).read_text(encoding="utf-8"))
        return f" (process {holder['process']} on {holder['host']})"
    except (OSError, ValueError, KeyError):
        return ""
