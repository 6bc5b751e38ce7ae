"""`heed runs prune`: delete checkpoints that nobody needs, after saying which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heed.commands.run_words import names, read_run_words, text, truth
from heed.commands.runs import USAGE, choose_runs, roots, warn_of_broken
from heed.commands.summary import shown_path
from heed.errors import EXIT_DONE, UserError, nearest
from heed.files import readable_bytes
from heed.tracking.checkpoint_pruning import (
    KEEPABLE,
    Pruning,
    bytes_of,
    plan_pruning,
    prune,
)
from heed.tracking.digest import Digest
from heed.tracking.folder import CHECKPOINTS
from heed.tracking.lock import run_lock
from heed.tracking.record import RunRecord

ENDED = ("done", "failed", "interrupted", "stopped", "killed", "pruned")


def keepable(key: str, value: str) -> list[str]:
    """What is kept: best, last, or none."""
    found = names(key, value)
    for one in found:
        if one not in KEEPABLE:
            raise UserError(
                f"{key} must be best, last or none, but is {one!r}", nearest(one, KEEPABLE)
            )
    if "none" in found and len(found) > 1:
        raise UserError(f"{key} must be none alone, or best and last, but is {value}")
    return found


KEYS: dict[str, tuple[Any, Any]] = {
    "paths.output_dir": (text, None),
    "keep": (keepable, ["best", "last"]),
    "yes": (truth, False),
}


def prune_runs(argv: list[str]) -> int:
    """Run `heed runs prune` with the words after it; returns the exit code."""
    words = read_run_words(argv, usage=USAGE, keys=KEYS)
    everything, chosen = choose_runs(words)
    keep, sure = words.asked["keep"], words.asked["yes"]
    plans = [plan for one in chosen if (plan := _plan(one, keep)) is not None and plan.going]
    freed = 0
    for plan in plans:
        freed += _one(plan, keep, sure=sure)
    warn_of_broken(everything)
    if not plans:
        print(
            f"nothing to delete: {len(chosen)} runs below {', '.join(roots(words))} were looked at"
        )
    elif sure:
        print(f"deleted: {readable_bytes(freed)} are free now")
    else:
        print(f"{readable_bytes(freed)} would be free. Nothing was deleted; add yes=true to do it")
    return EXIT_DONE


def _plan(digest: Digest, keep: Sequence[str]) -> Pruning | None:
    """What would go of a run; None if it must not be touched."""
    if digest.status not in ENDED:
        return None  # broken, queued, or at work
    try:
        return plan_pruning(RunRecord.open(digest.path), keep)
    except UserError as fault:
        print(f"left alone: {fault}")
        return None


def _one(plan: Pruning, keep: Sequence[str], *, sure: bool) -> int:
    """Say what goes of one run and, if that is wanted, delete it; returns the bytes."""
    if not sure:
        _say(plan)
        return plan.freed
    try:
        with run_lock(plan.run_dir):
            record = RunRecord.open(plan.run_dir)
            now = plan_pruning(record, keep)  # somebody may have trained on since
            prune(now)
            record.update(
                checkpoints={"count": len(now.staying), "bytes": bytes_of(now.staying)},
                **({"best_checkpoint": None} if "none" in keep else {}),
            )
    except UserError as fault:
        print(f"left alone: {fault}")
        return 0
    _say(now)
    return now.freed


def _say(plan: Pruning) -> None:
    gone = ", ".join(path.name for path in plan.going)
    stays = ", ".join(path.name for path in plan.staying) or "none"
    note = f" ({plan.note})" if plan.note else ""
    print(f"{shown_path(plan.run_dir / CHECKPOINTS)}\n  go    {gone}: {readable_bytes(plan.freed)}")
    print(f"  stay  {stays}{note}")
