"""Where things lie in a run folder."""

from __future__ import annotations

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
    folders = find_run_folders(root)
    if not folders:
        raise UserError(f"resume=latest needs a run under {root}, but there is none", "heed train")
    return max(folders, key=lambda folder: RunRecord.open(folder).fields.get("started") or "")


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
        raise UserError(
            f"{record.run_dir} has no checkpoint (its run ended as {record.fields['status']!r})",
            "train it again, or give another run=DIR",
        )
    raise UserError(
        f"checkpoint={which} is not in {folder}", "there is " + ", ".join(others)
    )
