"""Checkpoint files: written whole or not at all, checked and read without running anything."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch.distributed.tensor import DTensor

from heed.errors import UserError
from heed.files import (
    WritingError,
    link_folder,
    link_or_copy,
    readable_bytes,
    remove,
    replacing,
    writing_error,
)
from heed.training.checksum import ChecksumWriter, checksum_fault

SUFFIX = ".ckpt"
# What a checkpoint holds that a training can go on from.
RESUMABLE = ("loops", "callbacks", "optimizer_states", "lr_schedulers")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's reader and writer of checkpoints.

    A save goes to a temporary name, to disk, and then takes its name in one step, so that a process
    killed at any moment leaves the old file or the new one. The file is an ordinary one of torch's
    with a checksum in it. A load compares the checksum first, and takes tensors and plain values
    only (`weights_only`), so that a file from a stranger runs nothing.

    Attributes:
        previous: For a file, the name that it takes when a newer one takes its place; a file that
            is not there is let go of.
    """

    asynchronous = False  # whether a save returns before the file is written

    def __init__(self) -> None:
        self.previous: dict[Path, Path] = {}

    def wait(self) -> Exception | None:
        """Wait until all is written; returns the error of a save that failed meanwhile."""
        return None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            WritingError: If the disk is full or may not be written to; no temporary file is left.
        """
        assert storage_options is None, "checkpoints are local files"
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, previous=self.previous.get(target)) as file:
                writer = ChecksumWriter(file)
                torch.save(checkpoint, cast("IO[bytes]", writer))
                writer.finish()
        except RuntimeError as error:  # torch's zip writer hides the reason of a failed write
            cause = error.__cause__ or error.__context__
            if not isinstance(cause, OSError):
                cause = OSError(errno.ENOSPC, "the write failed; the disk may be full")
            raise _with_room(writing_error(target, cause), checkpoint, target) from error
        except OSError as error:
            raise writing_error(target, error) from error
        except WritingError as error:
            raise _with_room(error, checkpoint, target) from error

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
        remove(Path(path))

    def link(self, source: Path, path: Path) -> None:
        """Give a checkpoint that was saved a second name, in place of what had that name.

        Raises:
            WritingError: If the disk is full or may not be written to.
        """
        link_checkpoint(source, path, previous=self.previous.get(path))


def load_checkpoint(path: str | os.PathLike[str], *, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values, after a look at its checksum.

    A file without a checksum, from an earlier version or another program, is read as it is. A
    folder of shards is put together, on the CPU.

    Raises:
        UserError: If the file is missing or broken; it names the other checkpoints that are there.
    """
    target = Path(path)
    if target.is_dir():
        from heed.training.sharded_checkpoint import load_sharded

        return load_sharded(target)
    if not target.is_file():
        raise UserError(f"checkpoint {target} does not exist", _others(target))
    try:
        with target.open("rb") as file:  # what was checked is what is read
            fault = checksum_fault(file)
            if fault is not None:
                raise _broken(target, fault)
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(target):
            raise UserError(
                f"checkpoint {target} must hold tensors and plain values only, "
                f"but holds something else: {_first_line(error)}",
                _others(target),
            ) from error
        raise _broken(target, _first_line(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _broken(target, _first_line(error)) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{target} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def link_checkpoint(source: Path, path: Path, *, previous: Path | None = None) -> None:
    """Give a checkpoint a second name, in place of what had that name.

    Raises:
        WritingError: If the disk is full or may not be written to.
    """
    link = link_folder if source.is_dir() else link_or_copy
    link(source, path, previous=previous)


def verify_checkpoint(path: str | os.PathLike[str]) -> str | None:
    """Why a checkpoint is not to be used; None if it is whole. Nothing in it is run or kept.

    A file with a checksum is compared with it, one without is read.
    """
    target = Path(path)
    if target.is_dir():
        from heed.training.sharded_checkpoint import verify_sharded

        return verify_sharded(target)
    try:
        with target.open("rb") as file:
            fault = checksum_fault(file)
    except OSError as error:
        return error.strerror or _first_line(error)
    if fault is not None:
        return fault
    try:
        _glance(target)
    except (UserError, pickle.UnpicklingError, *_UNREADABLE) as error:
        return _first_line(error)
    return None


def resumable_step(path: str | os.PathLike[str]) -> int | None:
    """The optimizer step that a whole checkpoint was saved at, if a training can go on from it.

    Returns:
        None for one with weights only. The tensors are not read.
    """
    target = Path(path)
    checkpoint = _glance(target / "rest.ckpt" if target.is_dir() else target)
    if not all(key in checkpoint for key in RESUMABLE):
        return None
    return int(checkpoint["global_step"])


def checkpoints_in(folder: Path | str) -> list[Path]:
    """The checkpoints in a folder, the one written last first."""
    found = [path for path in Path(folder).glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def clear_leftovers(folder: Path) -> None:
    """Delete what processes that were killed while they wrote have left in a folder."""
    for path in folder.glob(f".*{SUFFIX}.*.tmp"):
        with contextlib.suppress(OSError):
            remove(path)


def disk_use(folder: Path | str) -> dict[str, int]:
    """The `count` of the checkpoints in a folder, and the `bytes` they take.

    A broken one that was moved aside counts; two names of one file are two checkpoints, and take
    its bytes once.
    """
    checkpoints = [path for path in Path(folder).glob(f"*{SUFFIX}*") if path.name[0] != "."]
    sizes: dict[tuple[int, int], int] = {}
    for checkpoint in checkpoints:
        for part in [checkpoint, *checkpoint.rglob("*")]:
            facts = part.stat()
            if part.is_file():
                sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return {"count": len(checkpoints), "bytes": sum(sizes.values())}


def tensor_bytes(value: Any) -> int:
    """The bytes of all tensors in nested dicts and lists; those that share memory count once."""
    storages: dict[int, int] = {}
    _collect_storages(value, storages)
    return sum(storages.values())


def file_bytes(checkpoint: dict[str, Any]) -> int:
    """The size of the file that a checkpoint would be."""
    counter = _Counter()
    torch.save(checkpoint, cast("IO[bytes]", counter))
    return counter.bytes


_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError)


def _glance(path: Path) -> dict[str, Any]:
    """A checkpoint whose tensors stay on disk until they are used."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(checkpoint, dict):
        raise UserError(f"it holds a {type(checkpoint).__name__}")
    return checkpoint


class _Counter:
    """A file that is nowhere, and only counts what is written to it."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: Any) -> int:
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing."""


def _collect_storages(value: Any, found: dict[int, int]) -> None:
    if isinstance(value, torch.Tensor):
        here = value.to_local() if isinstance(value, DTensor) else value
        storage = here.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, dict):
        for item in value.values():
            _collect_storages(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect_storages(item, found)


def _with_room(error: Exception, checkpoint: dict[str, Any], target: Path) -> Exception:
    """A failed write with what it needed and what there was, where that is the reason."""
    if not isinstance(error, WritingError):
        return error
    needed, free = file_bytes(checkpoint), shutil.disk_usage(target.parent).free
    if needed < free:
        return error  # a quota, or a folder that may not be written to
    room = f"{readable_bytes(needed)} are needed, {readable_bytes(free)} are free"
    return WritingError(f"{error.problem} ({room})", error.remedy)


def _broken(path: Path, reason: str) -> UserError:
    size = path.stat().st_size
    return UserError(f"checkpoint {path} is broken ({size:,} bytes): {reason}", _others(path))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _others(path: Path) -> str:
    others = [other.name for other in checkpoints_in(path.parent) if other != path]
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not others:
        return "there is no other checkpoint beside it"
    return "beside it there is " + ", ".join(others)
