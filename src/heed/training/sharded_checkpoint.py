"""Checkpoints that are folders: every process writes its shards, any number of them reads them.

In the folder are

- the shards, as `torch.distributed.checkpoint` writes tensors, and its `.metadata`: which part of
  which tensor is where;
- `rest.ckpt`, an ordinary checkpoint with all that is no tensor, and marks where tensors belong;
- `SHA256SUMS`, a line for each of the other files, as `sha256sum --check` reads it. It is written
  last.

The folder is written under a temporary name and then renamed. `torch.distributed.checkpoint` reads
its `.metadata` by plain pickle, which can run anything; here an unpickler reads it that knows only
the few classes that are written there, after the sums have been compared.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import StorageMeta

from heed.errors import UserError
from heed.files import WritingError, replace_folder, replacing, sha256_of, writing_error
from heed.training.checksum import ChecksumWriter
from heed.training.sharded_metadata import METADATA, Reader, metadata_fault, read_metadata

SUMS = "SHA256SUMS"
REST = "rest.ckpt"
MARK = "heed.tensor"  # {MARK: name} stands where a tensor was
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n]+)")


# Writing ------------------------------------------------------------------------------------------


def save_sharded(
    checkpoint: dict[str, Any], path: str | os.PathLike[str], *, previous: Path | None = None
) -> None:
    """Write a checkpoint as a folder; all processes take part, each with its shards.

    A process that dies, or a full disk, leaves the folder that was there before, if need be under
    the name `previous` or `replaced-NAME`.

    Args:
        checkpoint: Nested dicts and lists of tensors and plain values. A `DTensor` is written by
            the processes that hold it, another tensor by one of them. The tensors' places must be
            the same in every process; of plain values those of the first process are written.
        path: The folder, whose name ends in ".ckpt".
        previous: The name that the folder takes that is there now; None deletes it.

    Raises:
        WritingError: In every process, if the disk is full or may not be written to.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.sharded.tmp")  # one name for all processes
    tensors: dict[str, Tensor] = {}
    rest = _take_out(checkpoint, "", tensors)
    with _failing_together(target):
        if _rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
    failure: Exception | None = None
    try:
        with _quiet():
            dcp.save(tensors, storage_writer=_Writer(temporary), no_dist=_processes() == 1)
    except CheckpointException as error:  # in every process
        failure = _cause(error)
    try:
        with _failing_together(target):
            if failure is not None:
                raise failure
            sums = _sums(sorted(temporary.glob(f"__{_rank()}_*")))
        all_sums = _gathered(sums)
        with _failing_together(target):
            if _rank() == 0:
                _finish(temporary, rest, all_sums)
                replace_folder(temporary, target, previous=previous)
    finally:
        if _rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)


class _Writer(dcp.FileSystemWriter):
    """Writes what is in the tensors, and not where and when it was written."""

    def storage_meta(self) -> StorageMeta | None:
        return None


def _finish(folder: Path, rest: dict[str, Any], sums: dict[str, str]) -> None:
    """Add what is no tensor, and the sums."""
    with replacing(folder / REST) as file:
        writer: Any = ChecksumWriter(file)
        torch.save(rest, writer)
        writer.finish()
    sums = sums | _sums([folder / REST, folder / METADATA])
    with replacing(folder / SUMS, "w") as file:
        file.writelines(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def _take_out(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A copy of a nested value in which marks stand for the tensors, which are collected."""
    if isinstance(value, Tensor):
        assert name not in tensors, f"two tensors of a checkpoint are both called {name}"
        tensors[name] = value.detach()
        return {MARK: name}
    if isinstance(value, dict):
        return {key: _take_out(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_take_out(v, f"{name}/{i}", tensors) for i, v in enumerate(value))
    return value


# Reading ------------------------------------------------------------------------------------------


def load_sharded(
    path: str | os.PathLike[str], *, into: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read a checkpoint folder, whole or into shards.

    Args:
        path: The folder.
        into: Live tensors, nested as in the checkpoint, for instance
            `{"state_dict": model.state_dict()}`. They are filled, and stand in the result; of a
            `DTensor` only this process's shard is read. All processes take part then, with tensors
            in the same places.

    Returns:
        The checkpoint; tensors that are not in `into` are whole and on the CPU.

    Raises:
        UserError: If the folder is missing or broken, or `into` has a tensor of another shape.
    """
    folder = Path(path)
    fault = verify_sharded(folder)
    if fault is not None:
        raise UserError(f"checkpoint {folder} is broken: {fault}")
    metadata = read_metadata(folder)
    live: dict[str, Tensor] = {}
    _take_out(into or {}, "", live)
    tensors = {}
    for name, facts in metadata.state_dict_metadata.items():
        tensor = live.get(name)
        if tensor is None:
            tensor = torch.empty(facts.size, dtype=facts.properties.dtype)
        elif tensor.shape != facts.size:
            raise UserError(
                f"checkpoint {folder} must fit the model, but its {name.lstrip('/')} is "
                f"{tuple(facts.size)}, and that of the model {tuple(tensor.shape)}"
            )
        tensors[name] = tensor
    try:
        with _quiet():
            alone = into is None or _processes() == 1
            dcp.load(tensors, storage_reader=Reader(folder), planner=_Planner(), no_dist=alone)
        return _put_back(read_rest(folder), tensors)
    except (CheckpointException, KeyError, TypeError) as error:
        cause = _cause(error) if isinstance(error, CheckpointException) else error
        words = f"checkpoint {folder} is broken: its files do not fit one another ({cause})"
        raise UserError(words) from error


def read_rest(folder: Path) -> dict[str, Any]:
    """What is no tensor in a checkpoint folder; `{MARK: name}` stands for each tensor.

    Raises:
        UserError: If it is missing or broken.
    """
    from heed.training.checkpoint_io import load_checkpoint

    return load_checkpoint(folder / REST)


def verify_sharded(path: str | os.PathLike[str]) -> str | None:
    """Why a checkpoint folder is not to be used; None if every file is what was written.

    Nothing in it is run: the sums are compared first, then `.metadata` is read by an unpickler that
    knows only what is written there.
    """
    folder = Path(path)
    try:
        text = (folder / SUMS).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return f"it has no readable {SUMS}; it may not have been finished"
    lines = [_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    written = {line[2]: line[1] for line in lines if line is not None}
    present = {entry.name for entry in folder.iterdir()} - {SUMS}
    if None in lines or not text.endswith("\n") or not {REST, METADATA} <= written.keys():
        return f"its {SUMS} is damaged"
    if present != written.keys():
        odd = sorted(present ^ written.keys())[0]
        return f"{odd} is {'missing' if odd in written else 'not part of it'}"
    for name, digest in written.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            return f"{name} is no file"
        if sha256_of(path) != digest:
            return f"{name} is not what was written: its SHA-256 checksum does not match"
    try:
        metadata = read_metadata(folder)
    except UserError as error:
        return error.problem
    return metadata_fault(metadata, {n: (folder / n).stat().st_size for n in written})


class _Planner(dcp.DefaultLoadPlanner):
    """Fills tensors, and refuses anything else."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        raise AssertionError("a checkpoint folder holds tensors")  # pragma: no cover


def _put_back(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {MARK}:
            return tensors[value[MARK]]
        return {key: _put_back(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_put_back(item, tensors) for item in value)
    return value


# Sums and processes -------------------------------------------------------------------------------


def _sums(paths: list[Path]) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in paths}


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _gathered(sums: dict[str, str]) -> dict[str, str]:
    """The sums of all processes."""
    if _processes() == 1:
        return sums
    parts: list[Any] = [None] * _processes()
    dist.all_gather_object(parts, sums)
    return {name: digest for part in parts for name, digest in part.items()}


@contextlib.contextmanager
def _failing_together(target: Path) -> Iterator[None]:
    """A block that fails in every process if files could not be written in one.

    Raises:
        WritingError: In every process.
    """
    said: tuple[str, str] | None = None
    try:
        yield
    except WritingError as error:
        said = (error.problem, error.remedy)
    except OSError as error:
        found = writing_error(target, error)
        if isinstance(found, WritingError):
            said = (found.problem, found.remedy)
        else:
            said = (f"{target} could not be written: {error}", "")
    answers: list[Any] = [said]
    if _processes() > 1:
        answers = [None] * _processes()
        dist.all_gather_object(answers, said)
    first = next((answer for answer in answers if answer is not None), None)
    if first is not None:
        raise WritingError(*first)


def _cause(error: CheckpointException) -> Exception:
    """What went wrong in the process that failed first."""
    causes = [failure[0] for _, failure in sorted(error.failures.items())]
    for cause in causes:
        link: BaseException | None = cause
        while link is not None:
            if isinstance(link, OSError):
                return link
            link = link.__cause__ or link.__context__
    first = causes[0]
    if isinstance(first, RuntimeError) and "writ" in str(first):  # torch's zip writer hides why
        return OSError(errno.ENOSPC, "the write failed; the disk may be full")
    return first if isinstance(first, Exception) else RuntimeError(str(first))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the hint that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable")
        yield
