"""A run's folder: a new one for each run, never an old one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from heed.errors import UserError


def claim_run_folder(frozen: dict[str, Any]) -> Path | None:
    """Make the folder that `paths.run_dir` names, or that name with -1, -2, ... if it exists.

    The folder is made by one system call, so two processes never get the same one. The config is
    changed to the name that was free. Nothing is made for a run that goes on (`resume`).

    Raises:
        UserError: If the folder cannot be made there.
    """
    paths = frozen.get("paths") or {}
    if "run_dir" not in paths or frozen.get("resume"):
        return None
    wanted = Path(paths["run_dir"])
    for count in itertools.count():
        folder = wanted if count == 0 else wanted.with_name(f"{wanted.name}-{count}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError as error:
            if not folder.exists():
                raise UserError(f"paths.run_dir is below {error.filename}, a file") from error
            continue
        except NotADirectoryError as error:
            raise UserError(
                f"paths.run_dir ({wanted}) is below something that is a file"
            ) from error
        except PermissionError as error:
            raise UserError(
                f"paths.run_dir ({wanted}) must be a place where you may write, but is not",
                "choose another with paths.output_dir=FOLDER",
            ) from error
        paths["run_dir"] = str(folder)
        return folder
    raise AssertionError("itertools.count ends")
