"""Which checkpoints of a run may go, and how much room that makes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from heed.files import remove
from heed.tracking.folder import CHECKPOINTS
from heed.tracking.record import RunRecord

KEEPABLE = ("best", "last", "none")


@dataclass(frozen=True)
class Pruning:
    """What would go of one run.

    Attributes:
        run_dir: The run folder.
        going: Its checkpoints that would be deleted, each a file or a folder of shards.
        staying: Those that stay.
        freed: Bytes that deleting makes free; a file with another name that stays frees none.
        note: Why more stays than was asked for, else empty.
    """

    run_dir: Path
    going: Sequence[Path]
    staying: Sequence[Path]
    freed: int
    note: str = ""


def plan_pruning(record: RunRecord, keep: Collection[str]) -> Pruning:
    """What pruning a run would delete; nothing is touched.

    The best checkpoint stays unless `keep` is "none". A run that has not ended well keeps its last
    one too, since it may go on from it. Where no best one is recorded, the last stands for it.

    Args:
        record: The run's record.
        keep: Of `KEEPABLE`: "best", "last" (and the best), or "none", which lets everything go.

    Raises:
        UserError: If the record names a best checkpoint outside the run folder.
    """
    folder = record.run_dir / CHECKPOINTS
    if not folder.is_dir() or folder.is_symlink():
        note = f"{CHECKPOINTS} is a link and is left alone" if folder.is_symlink() else ""
        return Pruning(record.run_dir, [], [], 0, note)
    found = sorted(path for path in folder.glob("*.ckpt*") if path.name[0] != ".")
    kept, note = _kept(record, folder, keep)
    staying = [path for path in found if path.name in kept]
    going = [path for path in found if path.name not in kept]
    return Pruning(record.run_dir, going, staying, _freed(going), note if going else "")


def prune(plan: Pruning) -> None:
    """Delete what a plan says. The caller holds the run's lock."""
    for path in plan.going:
        remove(path)


def bytes_of(paths: Sequence[Path]) -> int:
    """The bytes that some checkpoints take; two names of one file take them once."""
    return sum({(s.st_dev, s.st_ino): s.st_size for s in _files(paths)}.values())


def _kept(record: RunRecord, folder: Path, keep: Collection[str]) -> tuple[set[str], str]:
    """Names that stay, and why there are more than was asked for."""
    if "none" in keep:
        return set(), ""
    kept, note = set(), ""
    best = record.best_checkpoint
    if best is not None and best.exists():
        kept.add(best.name)
    else:
        kept.add("last.ckpt")
        note = "no best checkpoint is recorded, so the last one stays"
    if "last" in keep:
        kept.add("last.ckpt")
    elif record.fields["status"] != "done" and (folder / "last.ckpt").exists():
        kept.add("last.ckpt")
        note = f"its status is {record.fields['status']!r}, so the last one stays to go on from"
    if "last.ckpt" in kept and not (folder / "last.ckpt").exists():
        kept.add("previous.ckpt")  # which is what a resume falls back on
    return kept, note


def _freed(going: Sequence[Path]) -> int:
    """Bytes of the files all of whose names go."""
    names: dict[tuple[int, int], list[os.stat_result]] = {}
    for facts in _files(going):
        names.setdefault((facts.st_dev, facts.st_ino), []).append(facts)
    return sum(same[0].st_size for same in names.values() if len(same) >= same[0].st_nlink)


def _files(paths: Sequence[Path]) -> list[os.stat_result]:
    parts = [part for path in paths for part in (path, *path.rglob("*"))]
    return [part.lstat() for part in parts if not part.is_dir() or part.is_symlink()]
