"""The average of several checkpoints' weights (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from heed.errors import UserError
from heed.training.checkpoint_io import load_checkpoint


def average_checkpoints(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Tensor]:
    """The mean of each floating-point tensor over checkpoints of one model.

    One checkpoint is in memory at a time. Sums are in double precision; the mean has the dtype of
    the first checkpoint. Tensors of integers and bools are those of the last checkpoint.

    Args:
        paths: Checkpoint files, at least one.

    Returns:
        A state dict, name -> tensor, on the CPU.

    Raises:
        UserError: If there is no checkpoint, one cannot be read, or names or shapes differ.
    """
    if not paths:
        raise UserError("averaging needs at least one checkpoint, but there is none")
    first = _state_dict(paths[0])
    sums = {name: _addend(tensor) for name, tensor in first.items()}
    for path in paths[1:]:
        state = _state_dict(path)
        _check_same_model(first, state, paths[0], path)
        for name, tensor in state.items():
            if tensor.is_floating_point():
                sums[name] += tensor.double()
            else:
                sums[name] = tensor
    return {
        name: (sums[name] / len(paths)).to(tensor.dtype)
        if tensor.is_floating_point()
        else sums[name]
        for name, tensor in first.items()
    }


def _addend(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64, copy=True) if tensor.is_floating_point() else tensor


def _state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    checkpoint = load_checkpoint(path)
    if "state_dict" not in checkpoint:
        raise UserError(f"{os.fspath(path)} must hold a state_dict, but has none")
    return checkpoint["state_dict"]


def _check_same_model(
    first: dict[str, Tensor],
    other: dict[str, Tensor],
    first_path: str | os.PathLike[str],
    other_path: str | os.PathLike[str],
) -> None:
    for name in first.keys() | other.keys():
        shapes = [tuple(state[name].shape) if name in state else None for state in (first, other)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"checkpoints to average must be of one model, but {name} has shape {shapes[0]} in "
                f"{os.fspath(first_path)} and {shapes[1]} in {os.fspath(other_path)}",
                "average checkpoints of one run",
            )
