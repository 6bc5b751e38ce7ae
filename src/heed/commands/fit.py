"""Training itself, as the first process of a run and every further one do it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from heed.commands.assemble import Parts


def fit(trainer: pl.Trainer, parts: Parts, checkpoint: Path | None) -> None:
    """Train until a bound is reached, the run is stopped, or a fault cannot be borne.

    Where `callbacks.non_finite` rolls back, training goes on from the last checkpoint without the
    batches of the faulty step; all processes do so together.

    Args:
        trainer: The trainer.
        parts: The task and its data.
        checkpoint: Where training goes on; None begins it.

    Raises:
        RunFailed: If numbers are not finite and the run may not go on, or memory runs out.
    """
    from heed.commands.out_of_memory import memory_watched, quoted
    from heed.training.allocator import keep_freed_memory
    from heed.training.callbacks.non_finite import RollBack, last_checkpoint
    from heed.training.callbacks.saving import settle

    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    while True:
        try:
            with memory_watched(parts, trainer, run=quoted(Path(trainer.default_root_dir))):
                trainer.fit(
                    parts.task,
                    datamodule=parts.datamodule,
                    ckpt_path=os.fspath(checkpoint) if checkpoint else None,
                    weights_only=True,
                )
            return
        except RollBack as fault:
            settle(trainer)
            parts.datamodule.leave_out(fault.places)
            checkpoint = last_checkpoint(trainer)
