"""Checkpoints written in the background, while training goes on."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heed.training.checkpoint_io import AtomicCheckpointIO


class AsynchronousCheckpointIO(AtomicCheckpointIO):
    """Copies a checkpoint in memory when it is saved, and writes the copy in a thread.

    The file is the one that saving at once would have written, to the bit (but for where a GPU's
    tensors were). Training waits for the copy; a save waits for the one before, so that there is
    one copy, on the CPU, whose memory is used again by the next. Names and removals take their
    turn behind the write, and are left out if it fails: nothing is removed before what takes its
    place is on disk.

    A write that failed is told by `wait`, or by the next save.
    """

    asynchronous = True

    def __init__(self) -> None:
        super().__init__()
        self._worker: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._failure: Exception | None = None
        self._memory = Memory()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Copy a checkpoint, and begin to write it.

        Raises:
            UserError: If an earlier one, whose end nobody has waited for, could not be written.
        """
        failure = self.wait()
        if failure is not None:
            raise failure
        content = snapshot(checkpoint, self._memory)
        self._submit(lambda: AtomicCheckpointIO.save_checkpoint(self, content, path))

    def link(self, source: Path, path: Path) -> None:
        self._submit(lambda: AtomicCheckpointIO.link(self, source, path))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        self._submit(lambda: AtomicCheckpointIO.remove_checkpoint(self, path))

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        self._join()
        return super().load_checkpoint(path, map_location, weights_only)

    def wait(self) -> Exception | None:
        self._join()
        failure, self._failure = self._failure, None
        return failure

    def teardown(self) -> None:
        """Finish what is being written; a failure that nobody has heard of is told on stderr."""
        failure = self.wait()
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        self._memory = Memory()
        if failure is not None:
            with contextlib.suppress(OSError):  # stderr too may go to a file on the full disk
                print(f"warning: {failure}", file=sys.stderr)

    def _submit(self, operation: Callable[[], None]) -> None:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending.append(self._worker.submit(self._run, operation))

    def _run(self, operation: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            operation()
        except Exception as error:
            self._failure = error

    def _join(self) -> None:
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()


class Memory:
    """Where a snapshot is kept, and the next one is written over it.

    Memory that is new has to be had from the system page by page, which takes longer than to copy.
    """

    def __init__(self) -> None:
        self._used: list[torch.UntypedStorage] = []
        self._free: dict[int, list[torch.UntypedStorage]] = {}

    def begin(self) -> None:
        """Take all that was used before for free."""
        self._free = {}
        for storage in self._used:
            self._free.setdefault(storage.nbytes(), []).append(storage)
        self._used = []

    def end(self) -> None:
        """Let go of what was not taken again."""
        self._free = {}

    def take(self, size: int) -> torch.UntypedStorage:
        """So many bytes."""
        free = self._free.get(size)
        storage = free.pop() if free else torch.UntypedStorage(size)
        self._used.append(storage)
        return storage


def snapshot(value: Any, memory: Memory | None = None) -> Any:
    """A copy, on the CPU, of nested dicts and lists of tensors and plain values.

    Tensors that share memory share it in the copy too, and what is one object stays one, so that
    the same is written.

    Args:
        value: What is copied.
        memory: Where the tensors go; a copy that was there before is lost.
    """
    memory = memory or Memory()
    memory.begin()
    result = _copy(value, {}, {}, memory)
    memory.end()
    return result


def _copy(
    value: Any, copies: dict[int, Any], storages: dict[int, torch.UntypedStorage], memory: Memory
) -> Any:
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return value
    if id(value) in copies:
        return copies[id(value)][1]
    result: Any
    if isinstance(value, Tensor):
        result = _copy_tensor(value, storages, memory)
    elif isinstance(value, dict):
        result = copy.copy(value)  # with its class and attributes
        for key, item in value.items():
            result[key] = _copy(item, copies, storages, memory)
    elif type(value) is list:
        result = [_copy(item, copies, storages, memory) for item in value]
    elif type(value) is tuple:
        result = tuple(_copy(item, copies, storages, memory) for item in value)
    else:
        result = copy.deepcopy(value)
    copies[id(value)] = (value, result)  # the value too, lest its number be given away
    return result


def _copy_tensor(
    tensor: Tensor, storages: dict[int, torch.UntypedStorage], memory: Memory
) -> Tensor:
    tensor = tensor.detach()
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        return tensor.to("cpu", copy=True)
    storage = tensor.untyped_storage()
    key = storage._cdata
    if key not in storages:
        storages[key] = memory.take(storage.nbytes())
        _fill(storages[key], storage)
    result = torch.empty(0, dtype=tensor.dtype)
    return result.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())


def _fill(target: torch.UntypedStorage, source: torch.UntypedStorage) -> None:
    if source.device.type == "cpu":
        # many small copies by torch's threads wait for one another where cores are busy
        ctypes.memmove(target.data_ptr(), source.data_ptr(), source.nbytes())
    else:
        target.copy_(source)
