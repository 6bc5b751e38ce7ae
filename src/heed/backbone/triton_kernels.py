"""Whether this machine can run kernels that are written in Triton."""

from __future__ import annotations

import importlib.util
import os

import torch


@torch.compiler.assume_constant_result
def runs_triton(device: str) -> bool:
    """Whether there is a Triton and what Heed's kernels need of a device: an NVIDIA GPU of the
    Ampere generation or newer. Triton's interpreter needs no GPU."""
    if importlib.util.find_spec("triton") is None:
        return False
    if device != "cuda":
        return os.environ.get("TRITON_INTERPRET") == "1"
    return torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 0)
