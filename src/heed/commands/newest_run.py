"""Which run of an output folder was begun last, though clocks may be set back in between.

A record's `started` orders runs as long as the clock goes forwards. So an output folder keeps, in
one small file, the run that was begun last there and the latest time that any before it has: if no
run is younger than that time, the clock was set back, and the file tells what `started` cannot.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.files import replacing

FILE_NAME = ".last-begun.json"


def note_begun(root: str | Path, run_dir: Path, started: str) -> None:
    """Keep that this run has been begun in an output folder; a folder that is read-only keeps none.

    Args:
        root: The output folder.
        run_dir: The run folder.
        started: The time in its record.
    """
    before = _read(Path(root))
    latest = max(str(before.get("after", "")), str(before.get("started", "")))
    noted = {"run": os.path.relpath(run_dir, root), "started": started, "after": latest}
    with (
        contextlib.suppress(OSError, UserError, ValueError),
        replacing(Path(root) / FILE_NAME, "w") as file,
    ):
        json.dump(noted, file)


def newest(root: str | Path, begun: Iterable[tuple[str, Path]]) -> Path | None:
    """The run that was begun last, of some that were found with their times; None if there is none.

    Args:
        root: The output folder.
        begun: (started, run folder) of each run below it.
    """
    runs = list(begun)
    if not runs:
        return None
    latest, folder = max(runs, key=lambda run: run[0])
    noted = _read(Path(root))
    last = os.path.realpath(Path(root) / str(noted.get("run", "")))
    if latest <= str(noted.get("after", "")):
        return next((one for _, one in runs if os.path.realpath(one) == last), folder)
    return folder


def _read(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
