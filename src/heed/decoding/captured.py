"""Work on a GPU that is launched as a whole.

A step of decoding is hundreds of kernels of a few microseconds, and Python needs longer to start
one than the device to run it. A CUDA graph starts all of them at once. It reads and writes the
memory that it was captured with, so the work must keep its tensors and their shapes, and must not
ask the device for a number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 2
"""Runs before the capture, in which kernels are built and libraries take their memory."""


def captured(work: Callable[[], None], device: torch.device | str) -> Callable[[], None]:
    """The same work as one CUDA graph; on other devices, the work itself.

    It is run a few times, so it must begin where doing it changes nothing that matters.

    Args:
        work: Reads and writes tensors that stay where they are.
        device: Where they are.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return work
    with torch.cuda.device(device):
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                work()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # A thread that fetches batches may take page-locked memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    return graph.replay


def sent(numbers: list[int], device: torch.device | str) -> Tensor:
    """A long tensor of numbers, on its way to a device without waiting for it."""
    tensor = torch.tensor(numbers, dtype=torch.long)
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
