"""A run as its folder tells it, to be compared with another: nothing in it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from heed.tracking.config_file import load_config
from heed.tracking.record import RunRecord

CONFIG = "config.yaml"
METRICS = "metrics.csv"
TEST_PREDICTIONS = "predictions/test.jsonl"


class SavedRun(NamedTuple):
    """What two runs are compared by.

    Attributes:
        folder: The run folder.
        fields: The content of its `run.json`.
        config: Its frozen config.
    """

    folder: Path
    fields: dict[str, Any]
    config: dict[str, Any]


def read_saved_run(folder: Path | str) -> SavedRun:
    """Read a run's record and config.

    Raises:
        UserError: If this is no run folder, a file is broken, or it is of another version.
    """
    record = RunRecord.open(folder)
    return SavedRun(record.run_dir, record.fields, load_config(record.run_dir / CONFIG))
