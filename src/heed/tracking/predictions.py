"""Predictions on disk: one JSON object a line, in the order they are given."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from heed.files import sync_folder, writing_error


class PredictionWriter:
    """Writes predictions to a jsonl file that takes its name when it is complete.

    Used as a context manager; when the block fails, nothing is left at `path`.

    Args:
        path: The file; its folder is made, and a file that is there is replaced at the end.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.count = 0
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
        except OSError as error:
            raise writing_error(self.path, error) from error

    def write(self, predictions: Iterable[Mapping[str, Any]]) -> None:
        """Write each prediction as one line.

        Raises:
            UserError: If the disk is full.
        """
        try:
            for prediction in predictions:
                json.dump(dict(prediction), self._file, ensure_ascii=False)
                self._file.write("\n")
                self.count += 1
        except OSError as error:
            raise writing_error(self.path, error) from error

    def close(self) -> None:
        """Put the file on disk under its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise writing_error(self.path, error) from error

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def read_predictions(path: Path | str) -> list[dict[str, Any]]:
    """The predictions that a `PredictionWriter` wrote."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
