"""Every logged number in one CSV file in the run folder."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from heed.files import replacing
from heed.tracking.folder import METRICS
from heed.tracking.metrics_file import read_metrics


class CsvLogger(Logger):
    """Appends to `<run_dir>/metrics.csv`: a `step` column, and one for each metric.

    Each call of `log_metrics` is a row, empty where it has no value. A metric that comes up later
    adds a column. A file that is there is gone on with, as a resumed run does.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, *, run_dir: Path | str) -> None:
        super().__init__()
        self.path = Path(run_dir) / METRICS
        self._columns: list[str] | None = None
        self._rows: list[dict[str, Any]] = []
        self._written = 0  # rows on disk, once `_columns` is known

    @property
    def name(self) -> str:
        """Nothing: the file lies in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Nothing: the file lies in the run folder itself."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the run folder holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep a row, to be written by `save`."""
        row = {name: float(value) for name, value in metrics.items()}
        self._rows.append({"step": "" if step is None else step, **row})

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that were kept."""
        if not self._rows:
            return
        columns = self._read()
        new = sorted({name for row in self._rows for name in row} - set(columns) - {"step"})
        if new or not columns:
            columns = ["step", *[name for name in columns if name != "step"], *new]
            self._widen(columns)
        self._columns = columns
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writerows(self._rows)
        self._written += len(self._rows)
        self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rows that were kept."""
        self.save()

    @rank_zero_only
    def place(self, step: int) -> dict[str, Any]:
        """How far the file has got, as plain values."""
        return {"columns": list(self._read()), "rows": self._written}

    @rank_zero_only
    def go_to(self, place: dict[str, Any] | None) -> None:
        """Drop the rows, and the columns, that came after a place; all with None."""
        columns, rows = (place["columns"], place["rows"]) if place else ([], 0)
        if (self._read(), self._written) != (columns, rows) and self.path.exists():
            self._rewrite(columns, read_metrics(self.path)[:rows])

    def _read(self) -> list[str]:
        """The columns of the file; reads it once."""
        if self._columns is None:
            self._columns = []
            if self.path.exists():
                with open(self.path, newline="", encoding="utf-8") as file:
                    reader = csv.reader(file)
                    self._columns = next(reader, [])
                    self._written = sum(1 for _ in reader)
        return self._columns

    def _widen(self, columns: list[str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite(columns, read_metrics(self.path) if self.path.exists() else [])

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        with replacing(self.path, "w") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            if columns:
                writer.writeheader()
            writer.writerows(rows)
        self._columns, self._written = columns, len(rows)
