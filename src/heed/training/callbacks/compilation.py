"""Whether training steps are compiled, which costs time once and saves some in every step."""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

WORTH = 1000
"""Optimizer steps from which compiling pays. Its cost and what it saves a step both grow with the
number of layers, so that this depends little on the model: 35 to 45 ms a step for some 30 to 40 s
at the base size (docs/results.md, "Packed training on a GPU")."""


class Compilation(Callback):
    """Has the task's loss compiled by `torch.compile` before the first step.

    Compiled steps need batches of one shape, and so packed ones. On a GPU the whole forward pass is
    then one CUDA graph and the backward pass another, which a host starts in no time.

    Args:
        compile: "auto" does so on a GPU with packed batches, if the training has steps enough from
            its beginning to its end, so that a run that goes on does as it did before; True on any
            device, whatever the batches.
    """

    def __init__(self, compile: Literal["auto"] | bool = "auto") -> None:
        self.compile = compile

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task: Any = pl_module
        if self.compile is True or (self.compile == "auto" and self._pays(trainer, task)):
            packed = getattr(trainer.datamodule, "packed", False) is True  # type: ignore[attr-defined]
            graphs = task.device.type == "cuda" and packed  # which are of one shape each
            task.compile_loss(
                mode="reduce-overhead" if graphs else None, dynamic=False if packed else None
            )

    def _pays(self, trainer: pl.Trainer, task: Any) -> bool:
        if task.device.type != "cuda" or trainer.accumulate_grad_batches > 1:
            return False
        if getattr(trainer.datamodule, "packed", False) is not True:  # type: ignore[attr-defined]
            return False
        plain = type(trainer.strategy).__name__ in ("SingleDeviceStrategy", "DDPStrategy")
        return plain and trainer.estimated_stepping_batches >= WORTH
