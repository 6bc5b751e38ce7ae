"""What Lightning does around hooks that nobody has, and a profiler that nobody asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler

HOOKS_OF_A_STEP = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


class NoIdleHooks(Callback):
    """Lets Lightning pass over the hooks of a training step that nobody has overridden.

    It calls every hook of every callback and of the module, some fifty calls of nothing a step,
    each with a name made for the profiler and a context; but it passes over a hook that is None.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            leave_out_idle_hooks(callback, Callback)
        leave_out_idle_hooks(pl_module, pl.LightningModule)


def leave_out_idle_hooks(part: Any, base: type) -> None:
    """Make those hooks of a training step None that a part has from its base, where they are empty.

    Args:
        part: A callback or a LightningModule.
        base: The class whose hooks do nothing.
    """
    for name in HOOKS_OF_A_STEP:
        if getattr(type(part), name) is getattr(base, name):
            vars(part).setdefault(name, None)


class Unprofiled(PassThroughProfiler):
    """Measures nothing, as Lightning's own, and makes no new context for each of its calls."""

    _nothing: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """A context that does nothing."""
        return self._nothing
