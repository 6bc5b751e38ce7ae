"""A run as its folder tells it, to be compared with another: nothing in it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from heed.errors import UserError
from heed.tracking.config_file import load_config
from heed.tracking.folder import CONFIG, TEST_PREDICTIONS
from heed.tracking.predictions import read_predictions
from heed.tracking.record import RunRecord


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


def read_test_predictions(run: SavedRun) -> list[dict[str, Any]]:
    """The predictions of the test split, each with its `index` and `prediction`.

    Raises:
        UserError: If the file is broken.
    """
    path = run.folder / TEST_PREDICTIONS
    try:
        rows = read_predictions(path)
        for row in rows:
            row["index"], row["prediction"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} must have an index and a prediction a line, but is broken: {error}",
            f"make it again: heed evaluate run={run.folder} output={path} overwrite=true",
        ) from error
    return rows
