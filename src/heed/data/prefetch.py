"""Batches made ready ahead of training: fetched, pinned and copied to the GPU by a thread.

The copies run on a stream of their own, so that they overlap with the step that is computed
meanwhile. Who takes a batch waits (on the GPU, not in the program) for its copy alone.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

AHEAD = 2  # batches ready beside the one in use; each holds memory on the device
POLL_SECONDS = 0.2


class _Ready(NamedTuple):
    batch: Any = None
    copied: Any = None  # a torch.cuda.Event
    error: BaseException | None = None
    end: bool = False


class Prefetched(Iterator[Any]):
    """The same batches in the same order, made by a thread that stays ahead of who takes them.

    Nothing here draws random numbers, and a place in the data is moved by training, so a run is
    the same with and without. An error in the thread is raised where its batch is asked for. The
    thread ends with the batches, by `close`, or when this object goes.

    Args:
        batches: Batches on the CPU, in pinned memory where copies are to overlap.
        device: Where they go; copies of a CUDA device are made on a stream of their own.
        ahead: Most batches that are ready and not yet taken.
    """

    def __init__(self, batches: Iterator[Any], device: torch.device, ahead: int = AHEAD) -> None:
        self._device = device
        self._ready: queue.Queue[_Ready] = queue.Queue(maxsize=max(1, ahead))
        self._stopped = threading.Event()
        self._ended = False
        self.close = weakref.finalize(self, self._stopped.set)
        parts = (batches, device, self._ready, self._stopped)
        self._thread = threading.Thread(target=_make_ready, args=parts, daemon=True)
        self._thread.start()

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        one = self._ready.get()
        if one.error is not None or one.end:
            self._ended = True
            raise one.error or StopIteration
        if one.copied is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(one.copied)
            for tensor in _tensors(one.batch):
                tensor.record_stream(stream)  # its memory is not reused before the step is done
        return one.batch


def _make_ready(
    batches: Iterator[Any],
    device: torch.device,
    ready: queue.Queue[_Ready],
    stopped: threading.Event,
) -> None:
    """The thread; knows nothing of the object that takes the batches, so that it may go."""

    def give(one: _Ready) -> None:
        while not stopped.is_set():
            try:
                ready.put(one, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue

    side = torch.cuda.Stream(device) if device.type == "cuda" else None
    try:
        for batch in batches:
            if stopped.is_set():
                return
            give(_moved(batch, device, side))
        give(_Ready(end=True))
    except BaseException as error:
        give(_Ready(error=error))


def _moved(batch: Any, device: torch.device, side: Any) -> _Ready:
    if side is None:
        return _Ready(batch.to(device))
    with torch.cuda.device(device), torch.cuda.stream(side):
        moved = batch.to(device, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(side)
    return _Ready(moved, copied)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a batch, those of its parts too."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
    elif hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _tensors(part)
