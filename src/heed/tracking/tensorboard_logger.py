"""TensorBoard event files in the run folder."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

FOLDER = "tensorboard"


class HeedTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger in `<run_dir>/tensorboard`, with tables and the config as text.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, *, run_dir: Path | str) -> None:
        super().__init__(save_dir=str(run_dir), name=FOLDER, version="", default_hp_metric=False)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Show the config under "Text"."""
        values = vars(params) if isinstance(params, Namespace) else params
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("config", f"```yaml\n{text}```")

    @rank_zero_only
    def log_table(
        self, key: str, columns: list[str], data: list[list[str]], step: int | None = None
    ) -> None:
        """Show a table of short texts under "Text"."""
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in data]
        self.experiment.add_text(key, "\n".join(lines), step)

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
            self._experiment.close()
            self._experiment = None
        self._kwargs["purge_step"] = 0 if place is None else place["step"] + 1

    def _has_earlier_files(self) -> bool:
        files = Path(self.log_dir).glob("events.out.tfevents.*")
        return sum(1 for _ in files) > (self._experiment is not None)

    @rank_zero_only
    def save(self) -> None:
        """Put what was logged on disk."""
        self.experiment.flush()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
