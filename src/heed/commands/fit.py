"""Training itself, as the first process of a run and every further one do it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from heed.commands.assemble import Parts


def fit(trainer: pl.Trainer, parts: Parts, checkpoint: Path | None) -> None:
    """Train until a bound is reached or the run is stopped.

    Args:
        trainer: The trainer.
        parts: The task and its data.
        checkpoint: Where training goes on; None begins it.
    """
    trainer.fit(
        parts.task,
        datamodule=parts.datamodule,
        ckpt_path=os.fspath(checkpoint) if checkpoint else None,
        weights_only=True,
    )
