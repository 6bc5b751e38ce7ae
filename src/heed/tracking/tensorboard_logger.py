"""TensorBoard event files in the run folder."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from heed.tracking.tolerant import Tolerant

FOLDER = "tensorboard"


class HeedTensorBoardLogger(Tolerant, TensorBoardLogger):
    """Lightning's logger in `<run_dir>/tensorboard`, with tables and the config as text.

    If its files cannot be written, one line says so and the run goes on.

    Args:
        run_dir: The run folder.
    """

    tracker = "tensorboard"

    def __init__(self, *, run_dir: Path | str) -> None:
        super().__init__(save_dir=str(run_dir), name=FOLDER, version="", default_hp_metric=False)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, opened at the first use; a dummy once it has failed."""
        writer = self.attempt(
            "opening its files",
            lambda: TensorBoardLogger.experiment.fget(self),  # type: ignore[attr-defined]
        )
        return writer if writer is not None else DummyExperiment()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve."""

        def log() -> None:
            for name, value in metrics.items():
                self.experiment.add_scalar(name, float(value), step)

        self.attempt("logging metrics", log)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Show the config under "Text"."""
        values = vars(params) if isinstance(params, Namespace) else params
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        self._log_text("config", f"```yaml\n{text}```")

    @rank_zero_only
    def log_table(
        self, key: str, columns: list[str], data: list[list[str]], step: int | None = None
    ) -> None:
        """Show a table of short texts under "Text"."""
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in data]
        self._log_text(key, "\n".join(lines), step)

    def _log_text(self, key: str, text: str, step: int | None = None) -> None:
        self.attempt("logging a text", lambda: self.experiment.add_text(key, text, step))

    @rank_zero_only
    def place(self, step: int) -> dict[str, int]:
        """How far the curves have got."""
        return {"step": step}

    @rank_zero_only
    def go_to(self, place: dict[str, int] | None) -> None:
        """Tell TensorBoard to forget what came after a place; all with None."""
        if place is None and not self._has_earlier_files():
            return
        if self._experiment is not None:
            self.attempt("closing its files", self._experiment.close)
            self._experiment = None
        self._kwargs["purge_step"] = 0 if place is None else place["step"] + 1

    def _has_earlier_files(self) -> bool:
        files = Path(self.log_dir).glob("events.out.tfevents.*")
        return sum(1 for _ in files) > (self._experiment is not None)

    @rank_zero_only
    def save(self) -> None:
        """Put what was logged on disk."""
        self.attempt("writing", lambda: self.experiment.flush())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Put what was logged on disk, and close the files."""
        self.attempt("closing its files", lambda: TensorBoardLogger.finalize(self, status))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
