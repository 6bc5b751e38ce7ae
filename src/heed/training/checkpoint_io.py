"""Checkpoint files: written whole or not at all, read without running anything in them."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from heed.errors import UserError
from heed.files import replacing, writing_error

SUFFIX = ".ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's reader and writer of checkpoints.

    A save goes to a temporary name, to disk, and then takes its name in one step, so that a process
    killed at any moment leaves the old file or the new one. A load takes tensors and plain values
    only (`weights_only`), so that a file from a stranger runs nothing.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            UserError: If the disk is full or may not be written to.
        """
        assert storage_options is None, "checkpoints are local files"
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(target, error) from error
        try:
            with replacing(target) as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch's zip writer hides the reason of a failed write
            cause = error.__cause__ or error.__context__
            if not isinstance(cause, OSError):
                cause = OSError(errno.ENOSPC, "the write failed; the disk may be full")
            raise writing_error(target, cause) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint as tensors and plain values, whatever `weights_only` says.

        Raises:
            UserError: If the file is missing or broken.
        """
        return load_checkpoint(path, map_location=map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint that may be gone already."""
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str], *, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint file as tensors and plain values.

    Raises:
        UserError: If the file is missing or broken; it names the other checkpoints that are there.
    """
    target = Path(path)
    if not target.is_file():
        raise UserError(f"checkpoint {target} does not exist", _others(target))
    try:
        checkpoint = torch.load(target, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(target):
            raise UserError(
                f"checkpoint {target} must hold tensors and plain values only, "
                f"but holds something else: {_first_line(error)}",
                _others(target),
            ) from error
        raise _broken(target, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _broken(target, error) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{target} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def checkpoints_in(folder: Path | str) -> list[Path]:
    """The checkpoints in a folder, the one written last first."""
    found = [path for path in Path(folder).glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _broken(path: Path, error: Exception) -> UserError:
    size = path.stat().st_size
    return UserError(
        f"checkpoint {path} is broken ({size:,} bytes): {_first_line(error)}", _others(path)
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _others(path: Path) -> str:
    others = [other.name for other in checkpoints_in(path.parent) if other != path]
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not others:
        return "there is no other checkpoint beside it"
    return "beside it there is " + ", ".join(others)
