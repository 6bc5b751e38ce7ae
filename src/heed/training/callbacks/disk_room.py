"""Whether the disk has room for the checkpoints that the policies will keep."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging

from heed.files import readable_bytes
from heed.training.callbacks.saving import policies, tell
from heed.training.checkpoint_io import disk_use, tensor_bytes


def warn_of_little_room(trainer: pl.Trainer, folder: Path) -> None:
    """Say on stderr when what will be kept is more than the disk has room for.

    Policies without a bound count with one file. A file of several policies has several names and
    takes its room once, so this is what the checkpoints come to at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = kept_bytes(trainer) - disk_use(folder)["bytes"]
    free = shutil.disk_usage(folder).free
    if needed > free:
        tell(
            f"warning: the checkpoints of this run may come to {readable_bytes(needed)} more, "
            f"but {folder} has room for {readable_bytes(free)}; free some space, or keep less "
            "with callbacks.checkpoint.save_top_k=1 callbacks.checkpoint.save_weights_only=true "
            "callbacks.last.keep_previous=false"
        )


def kept_bytes(trainer: pl.Trainer) -> int:
    """The bytes of all checkpoints that the policies keep, and of one more that is being written.

    Estimated from parameters and optimizer, for before the first step there is nothing to measure.
    """
    weights, states = weight_bytes(trainer), optimizer_bytes(trainer)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, WeightAveraging) for callback in callbacks):
        states += weights  # averaged weights beside those in training
    kept = 0
    for policy in policies(trainer):
        files = 1 if policy.files is None else policy.files
        kept += files * (weights if policy.weights_only else weights + states)
    return kept + weights + states


def weight_bytes(trainer: pl.Trainer) -> int:
    """The bytes of parameters and buffers, over all processes together."""
    module = trainer.lightning_module
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(trainer: pl.Trainer) -> int:
    """The bytes of the optimizers' states: as they are, or as they will be after the first step."""
    found = 0
    for optimizer in trainer.optimizers:
        if optimizer.state:
            found += tensor_bytes(optimizer.state_dict())
            continue
        for group in optimizer.param_groups:
            # two moments with Adam and its kin, a velocity with SGD; factored states are small
            each = 2 if "betas" in group else 1 if group.get("momentum") else 0
            sizes = [p.numel() * p.element_size() for p in group["params"] if p.requires_grad]
            found += each * sum(sizes)
    return found
