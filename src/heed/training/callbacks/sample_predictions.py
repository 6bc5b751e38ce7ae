"""A few predictions after each validation, to be read by a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

FOLDER = "samples"


class SamplePredictions(Callback):
    """Writes the first predictions of each validation and test beside their references.

    They go to `samples/step=000500-val.md` in the run folder, and as a table to each logger that
    can show one (wandb, TensorBoard). The rows are `pl_module.samples`, short strings by column.

    Args:
        n: How many predictions.
    """

    def __init__(self, *, n: int = 8) -> None:
        self.n = n

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        setattr(pl_module, "n_samples", self.n)  # noqa: B010 - the task keeps so many

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        rows: list[dict[str, Any]] = list(getattr(pl_module, "samples", []))[: self.n]
        if not rows or not trainer.is_global_zero:
            return
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[str(row.get(column, "")) for column in columns] for row in rows]
        step = trainer.global_step
        folder = Path(trainer.default_root_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        text = f"# Step {step}, {stage}\n\n{markdown_table(columns, cells)}"
        (folder / f"step={step:06d}-{stage}.md").write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            log_table = getattr(logger, "log_table", None)
            if log_table is not None:
                log_table(f"{stage}/samples", columns=columns, data=cells, step=step)


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """Rows of text as a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\r", " ").replace("\n", "<br>")
