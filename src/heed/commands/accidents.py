"""What may happen to the processes around a run, said in one line with how to go on."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from heed.commands.summary import shown_path
from heed.errors import RunFailed
from heed.tracking.folder import CHECKPOINTS

# torch's words: "... (pid 7) is killed by signal: Killed." or "... (pid(s) 7) exited unexpectedly".
_LOADER_DIED = re.compile(
    r"DataLoader worker \(pid\S* [\d, ]+\) (?:is )?(.*?)\.?\s*$", re.MULTILINE
)


@contextlib.contextmanager
def naming_accidents(run_dir: Path) -> Iterator[None]:
    """Turn the death of a loader's process in the block into a `RunFailed`.

    Args:
        run_dir: The run folder, whose last checkpoint a run can go on from.

    Raises:
        RunFailed: If a process that loads data has died.
    """
    try:
        yield
    except RuntimeError as error:
        died = _LOADER_DIED.search(str(error))
        if died is None:
            raise
        raise RunFailed(
            f"a process that loads data has died ({died[1]}), as happens when memory runs out",
            f"{_how_to_go_on(run_dir)}; data.num_workers=0 needs no such processes",
            cause="a loader's process died",
        ) from error


def _how_to_go_on(run_dir: Path) -> str:
    if any((run_dir / CHECKPOINTS).glob("last*")):
        return f"go on with: heed train resume={shlex.quote(shown_path(run_dir))}"
    return "there was no checkpoint yet, so begin again"
