"""How a run asks whoever searches whether it is worth going on with: two files in its folder.

The run adds a line to `reports.jsonl` after a validation and waits for the line of the same number
in `answers.jsonl`. Files, so that it is the same for a process beside the searcher's, for the first
of several processes, and for a job on another machine. Nobody waits where `open` is not there: the
run is then gone on with by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = "search"
_OPEN, _REPORTS, _ANSWERS = "open", "reports.jsonl", "answers.jsonl"
_FIRST_WAIT, _LONGEST_WAIT = 0.002, 0.05  # seconds between two looks


class Report(NamedTuple):
    """A validation score on its way to the searcher.

    Attributes:
        number: Of this report in its run, from 0.
        tokens: Real tokens that the run had been trained on.
        value: The score.
    """

    number: int
    tokens: int
    value: float


class Mailbox:
    """Both ends of the exchange in one run folder.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self.folder = Path(run_dir) / FOLDER
        self._read = 0

    # The searcher's end --------------------------------------------------------------------------

    def open(self) -> None:
        """Let the run ask; what was said before is forgotten."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / _OPEN).touch()

    def close(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            (self.folder / _OPEN).unlink()

    def reports(self) -> list[Report]:
        """What has come since the last call."""
        found = []
        for line in _lines(self.folder / _REPORTS, self._read):
            self._read += len(line)
            found.append(Report(**json.loads(line)))
        return found

    def answer(self, number: int, *, prune: bool, reason: str = "") -> None:
        """Answer the report of that number."""
        _append(self.folder / _ANSWERS, {"number": number, "prune": prune, "reason": reason})

    # The run's end -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether somebody will answer."""
        return (self.folder / _OPEN).exists()

    def ask(self, report: Report, *, patience: float) -> str | None:
        """Report, and wait for the answer.

        Args:
            report: What to say.
            patience: Seconds to wait before going on without an answer.

        Returns:
            Why the run is to be stopped, or None to go on with it.
        """
        _append(self.folder / _REPORTS, report._asdict())
        end, wait = time.monotonic() + patience, _FIRST_WAIT
        while time.monotonic() < end and self.is_open:
            for line in _lines(self.folder / _ANSWERS, 0):
                answer = json.loads(line)
                if answer["number"] == report.number:
                    return str(answer["reason"]) if answer["prune"] else None
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        return None


def _append(path: Path, content: dict[str, Any]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(content).encode() + b"\n")
        file.flush()


def _lines(path: Path, start: int) -> list[bytes]:
    """The whole lines of a file from a place on; none where there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(start, os.SEEK_SET)
            return [line for line in file if line.endswith(b"\n")]
    except FileNotFoundError:
        return []
