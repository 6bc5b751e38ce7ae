"""Where things lie in a run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heed.commands.compose import MAY_BE_EMPTY
from heed.commands.newest_run import newest
from heed.commands.own_runs import check_files, confine, recall
from heed.commands.trust import check_targets, check_words, trusted_modules
from heed.errors import UserError, raise_together
from heed.tracking.config_file import load_config
from heed.tracking.folder import CHECKPOINTS, CONFIG, find_run_folders
from heed.tracking.record import RunRecord

LATEST = "latest"

# The parts of every frozen config; `logger` and `callbacks` may be empty.
MAPPINGS = (
    *("paths", "task", "data", "tokenizer", "model"),
    *("optimizer", "scheduler", "trainer", "choices", "links"),
)


def open_run(run: str | Path, *, trust: Iterable[str] = ()) -> tuple[RunRecord, dict[str, Any]]:
    """The record and the frozen config of a run, which may be a stranger's.

    Args:
        run: The run folder, or "latest": the run under `outputs` that was begun last.
        trust: Modules that its config may name beside Heed's own parts (`--trust`).

    Raises:
        UserError: If the folder is no run's, a file in it is missing or broken, or its config would
            run code that nobody has trusted.
    """
    record = RunRecord.open(latest_run("outputs") if str(run) == LATEST else Path(run))
    place = record.run_dir / CONFIG
    trained_with = recall(record)
    if trained_with is None:
        check_files(record.run_dir)
    config = load_config(place)
    check_shape(config, place)
    if trained_with is None:
        check_words(config, place=place)
    check_targets(config, [*trusted_modules(trust), *(trained_with or ())], place=place)
    confine(config, own=trained_with is not None)
    config["paths"]["run_dir"] = str(record.run_dir)  # a run folder may have been moved
    return record, config


def check_shape(config: dict[str, Any], place: Path) -> None:
    """Refuse a config without the parts that `heed train` writes.

    Raises:
        UserError: For each part that is missing or of another kind.
    """
    config.setdefault("links", {})
    faults = [
        UserError(
            f"{key} in {place} must be a mapping, but is {config.get(key)!r}",
            "restore the file from a copy",
        )
        for key in MAPPINGS
        if not isinstance(config.get(key), dict)
    ]
    faults += [
        UserError(f"{key} in {place} must be a mapping or null, but is {config.get(key)!r}")
        for key in MAY_BE_EMPTY
        if not isinstance(config.get(key), (dict, type(None)))
    ]
    raise_together(faults)


def latest_run(root: str | Path) -> Path:
    """The run folder under `root` that was begun last.

    Raises:
        UserError: If there is none.
    """
    begun: list[tuple[str, Path]] = []
    for folder in find_run_folders(root):
        with contextlib.suppress(UserError):  # a broken record of another run is not our matter
            begun.append((RunRecord.open(folder).fields.get("started") or "", folder))
    found = newest(root, begun)
    if found is None:
        raise UserError(
            f"the latest run was asked for, but there is none under {root}",
            "give the run's folder, or paths.output_dir=FOLDER where a run is to go on",
        )
    return found


def find_checkpoint(record: RunRecord, which: str) -> Path:
    """The checkpoint that a user means by "best", "last", or the name of a file.

    Raises:
        UserError: If there is no such checkpoint.
    """
    folder = record.run_dir / CHECKPOINTS
    last = folder / "last.ckpt"
    if which == "best":
        best = record.best_checkpoint
        if best is not None and is_checkpoint(best):
            return best
        found = last
    elif which == "last":
        found = last
    else:
        found = Path(which) if is_checkpoint(Path(which)) else folder / which
    if is_checkpoint(found):
        return found
    others = sorted(path.name for path in folder.glob("*.ckpt")) if folder.is_dir() else []
    if not others:
        status = record.fields["status"]
        raise UserError(
            f"{record.run_dir} has no checkpoint (its run ended as {status!r})",
            "train it again, or give another run",
        )
    raise UserError(f"checkpoint={which} is not in {folder}", "there is " + ", ".join(others))


def is_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint, a file or a finished folder of shards."""
    return path.is_file() or (path / "SHA256SUMS").is_file()
