"""Where things lie in a run folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.tracking.config_file import load_config
from heed.tracking.folder import find_run_folders
from heed.tracking.record import RunRecord

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
TOKENIZER = "tokenizer"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"


def open_run(run: str | Path) -> tuple[RunRecord, dict[str, Any]]:
    """The record and the frozen config of a run.

    Raises:
        UserError: If the folder is no run's, or a file in it is missing or broken.
    """
    record = RunRecord.open(Path(run))
    config = load_config(record.run_dir / CONFIG)
    config["paths"]["run_dir"] = str(record.run_dir)  # a run folder may have been moved
    return record, config


def latest_run(root: str | Path) -> Path:
    """The run folder under `root` that was begun last.

    Raises:
        UserError: If there is none.
    """
    begun: list[tuple[str, Path]] = []
    for folder in find_run_folders(root):
        with contextlib.suppress(UserError):  # a broken record of another run is not our matter
            begun.append((RunRecord.open(folder).fields.get("started") or "", folder))
    if not begun:
        raise UserError(
            f"resume=latest needs a run under {root}, but there is none",
            "give resume=RUN_FOLDER, or paths.output_dir=FOLDER if the runs are elsewhere",
        )
    return max(begun, key=lambda one: one[0])[1]


def find_checkpoint(record: RunRecord, which: str) -> Path:
    """The checkpoint that a user means by "best", "last", or the name of a file.

    Raises:
        UserError: If there is no such checkpoint.
    """
    folder = record.run_dir / CHECKPOINTS
    last = folder / "last.ckpt"
    if which == "best":
        best = record.best_checkpoint
        if best is not None and best.is_file():
            return best
        found = last
    elif which == "last":
        found = last
    else:
        found = Path(which) if Path(which).is_file() else folder / which
    if found.is_file():
        return found
    others = sorted(path.name for path in folder.glob("*.ckpt")) if folder.is_dir() else []
    if not others:
        status = record.fields["status"]
        raise UserError(
            f"{record.run_dir} has no checkpoint (its run ended as {status!r})",
            "train it again, or give another run",
        )
    raise UserError(f"checkpoint={which} is not in {folder}", "there is " + ", ".join(others))
