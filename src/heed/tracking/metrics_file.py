"""Reading metrics.csv, the file of every logged number."""

from __future__ import annotations

import csv
from pathlib import Path


def read_metrics(path: Path | str) -> list[dict[str, str]]:
    """The rows of a metrics file as text, "" where a row has no value."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
