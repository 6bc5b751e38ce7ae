"""Run folders: made once for each run, known by their `run.json`, found again; names in them."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from heed.errors import UserError
from heed.files import writing_error

RECORD_NAME = "run.json"
CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
METRICS = "metrics.csv"
TOKENIZER = "tokenizer"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"
TEST_PREDICTIONS = f"{PREDICTIONS}/test.jsonl"
LOGS = "logs"
TIME_FORMAT = "%Y-%m-%d_%H-%M-%S"
_DEEPEST = 6  # outputs/<task>/<name>/<time> is 3 below outputs; a sweep adds one or two


def create_run_folder(root: Path | str, task: str, name: str) -> Path:
    """Make `root/task/name/<time>` for one run, and never give a folder out twice.

    A second run in the same second gets the suffix -2, the third -3. The folder is made by one
    system call, so of two processes only one gets it.

    Raises:
        UserError: If `name` is no folder name, or the folder cannot be made.
    """
    if not name or name in {".", ".."} or Path(name).name != name:
        raise UserError(f"name must be a plain folder name, but is {name!r}", "try name=my_run")
    parent = Path(root) / task / name
    time = datetime.now().strftime(TIME_FORMAT)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for count in itertools.count(1):
            folder = parent / (time if count == 1 else f"{time}-{count}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"paths.output_dir must be a folder, but {error.filename or parent} is a file",
            "choose another with paths.output_dir=FOLDER",
        ) from error
    except OSError as error:
        raise writing_error(parent, error) from error
    raise AssertionError("itertools.count ends")


def is_run_folder(folder: Path) -> bool:
    """Whether a run's record lies in this folder."""
    return (folder / RECORD_NAME).is_file()


def find_run_folders(root: Path | str) -> list[Path]:
    """All run folders at or below `root`, the one whose record changed last first."""
    found = [(facts.st_mtime, folder) for folder, facts in walk_run_folders(os.fspath(root))]
    return [Path(folder) for _, folder in sorted(found, reverse=True)]


def near_run_folders(path: Path, most: int = 3) -> list[Path]:
    """Run folders somebody who typed `path` may have meant: around it, inside it, or near it."""
    for parent in path.parents:
        if is_run_folder(parent):
            return [parent]
    place = path
    while not place.is_dir() and place != place.parent:
        place = place.parent
    climbed = len(path.parts) - len(place.parts)
    if climbed > 3 or place in (Path.home(), Path(place.anchor or ".")):
        return []  # nothing of the path exists: looking through a whole disk helps nobody
    return find_run_folders(place)[:most]


def walk_run_folders(root: str, depth: int = _DEEPEST) -> Iterator[tuple[str, os.stat_result]]:
    """Each run folder at or below `root`, with what the system says of its record, in any order."""
    try:
        facts = os.stat(os.path.join(root, RECORD_NAME))
        if stat.S_ISREG(facts.st_mode):
            yield root, facts
            return  # runs do not lie inside one another
    except (OSError, ValueError):
        pass
    if depth == 0:
        return
    try:
        with os.scandir(root) as entries:
            folders = [
                entry.path
                for entry in entries
                if entry.name[0] != "." and entry.is_dir(follow_symlinks=False)
            ]
    except (OSError, ValueError):
        return
    for folder in folders:
        yield from walk_run_folders(folder, depth - 1)
