"""Which run belongs to a job, so that a job that is started again finds its own folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from heed.files import replacing
from heed.tracking.folder import is_run_folder

FOLDER = ".jobs"


def remember_run(output_dir: Path | str, job: str, words: Sequence[str], run_dir: Path) -> None:
    """Write down that this run was begun by a job with these words."""
    place = _place(output_dir, job, words)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place, "w") as file:
        file.write(os.path.abspath(run_dir) + "\n")


def run_of_job(output_dir: Path | str, job: str, words: Sequence[str]) -> Path | None:
    """The run that an earlier attempt of a job began with the same words; None without one."""
    try:
        run_dir = Path(_place(output_dir, job, words).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    return run_dir if is_run_folder(run_dir) else None


def _place(output_dir: Path | str, job: str, words: Sequence[str]) -> Path:
    key = hashlib.sha256("\n".join([job, *words]).encode()).hexdigest()[:16]
    return Path(output_dir) / FOLDER / f"{job.replace('/', '_')}-{key}"
