"""A run's folder: a new one for each run, never an old one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.tracking.folder import create_run_folder


def claim_run_folder(frozen: dict[str, Any]) -> Path | None:
    """Make the folder of a new run, and write its name into `paths.run_dir`.

    That is OUTPUT_DIR/TASK/NAME/TIME, made unique, or the folder that `paths.run_dir` asks for.
    Nothing is made for a run that goes on (`resume`) or a config without paths.

    Raises:
        UserError: If the folder exists already, or cannot be made.
    """
    paths = frozen.get("paths")
    if not paths or frozen.get("resume"):
        return None
    if paths.get("run_dir") is None:
        folder = create_run_folder(paths["output_dir"], frozen["task"]["name"], frozen["name"])
        paths["run_dir"] = str(folder)
        return folder
    folder = Path(paths["run_dir"])
    if folder.is_dir() and not any(folder.iterdir()):
        return folder
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(
            f"paths.run_dir must be a new folder, but {folder} exists",
            "choose another, or leave it out",
        ) from error
    except OSError as error:
        raise UserError(f"paths.run_dir ({folder}) cannot be made: {error.strerror}") from error
    return folder
