"""The checkpoint that a run goes on from: its last, or the newest good one where that is broken."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from heed.commands.run_paths import find_checkpoint
from heed.errors import UserError
from heed.files import remove
from heed.tracking.folder import CHECKPOINTS, METRICS
from heed.tracking.record import RunRecord

LAST = "last.ckpt"
BROKEN = ".broken"  # added to the name of a broken checkpoint, which is kept to be looked at
_STEP = re.compile(r"step=(\d+)")


def resumable_checkpoint(record: RunRecord) -> Path:
    """The run's `last.ckpt`, whole: a broken one is replaced by the newest good checkpoint first.

    The good one keeps its own name and gets this one too, so that all processes, and whoever
    looks later, find the same file. To be called by one process, before others read it.

    Raises:
        UserError: If the run has no checkpoint, or none that is good and holds what a training
            needs to go on; it names all of them.
    """
    from heed.training.checksum import checksum_fault

    folder = record.run_dir / CHECKPOINTS
    last = folder / LAST
    if last.is_file():
        with last.open("rb") as file:  # the usual case costs no import of torch
            if checksum_fault(file) is None:
                return last
    if not any(folder.glob("*.ckpt")):
        find_checkpoint(record, "last")  # says so
    return _mended(record, last)


def _mended(record: RunRecord, last: Path) -> Path:
    from heed.training.checkpoint_io import checkpoints_in, resumable_step, verify_checkpoint

    faults = {last.name: verify_checkpoint(last) if last.exists() else "it is missing"}
    if faults[last.name] is None:
        return last
    steps: dict[Path, int] = {}
    for path in checkpoints_in(last.parent):
        if path == last:
            continue
        faults[path.name] = verify_checkpoint(path)
        if faults[path.name] is None:
            step = resumable_step(path)
            if step is None:
                faults[path.name] = "it holds weights only"
            else:
                steps[path] = step
    if not steps:
        shown = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise UserError(
            f"no checkpoint in {last.parent} can be gone on from ({shown})",
            "restore one from a copy, or train the run again",
        )
    chosen = max(steps, key=lambda path: (steps[path], path.name == "previous.ckpt"))
    print(_warning(record, last, chosen, faults, steps[chosen]), file=sys.stderr)
    _replace(last, chosen)
    return last


def _warning(
    record: RunRecord, last: Path, chosen: Path, faults: dict[str, str | None], step: int
) -> str:
    reached = steps_reached(record)
    lost = reached - step
    words = [f"warning: {last} cannot be used: {faults[last.name]}."]
    words += [
        f"Nor can {name}: {fault}."
        for name, fault in faults.items()
        if fault is not None and name != last.name
    ]
    words.append(f"Going on from {chosen.name} at step {step:,} instead;")
    words.append(
        f"{lost:,} {'step' if lost == 1 else 'steps'} of work {'is' if lost == 1 else 'are'} lost."
        if lost > 0
        else "no step after it is known of, so that little or nothing is lost."
    )
    if last.exists():
        words.append(f"The broken file is now {last.name}{BROKEN}.")
    return " ".join(words)


def steps_reached(record: RunRecord) -> int:
    """How many optimizer steps the run is known to have made: by its record, logs and file names.

    The checkpoints themselves are not asked, for the newest may be broken.
    """
    from heed.tracking.csv_logger import read_metrics

    known = [record.fields.get("steps") or 0]
    for path in (record.run_dir / CHECKPOINTS).glob("step=*.ckpt*"):
        match = _STEP.match(path.name)
        known += [int(match[1])] if match else []
    metrics = record.run_dir / METRICS
    if metrics.is_file():
        rows = [row for row in read_metrics(metrics) if row.get("train/loss")]
        known += [int(row["step"]) for row in rows if row.get("step", "").isdigit()]
    return max(known)


def _replace(last: Path, chosen: Path) -> None:
    """Move a broken checkpoint aside and give its name to a good one as well."""
    from heed.training.checkpoint_io import link_checkpoint

    if last.exists():
        aside = last.with_name(last.name + BROKEN)
        remove(aside)
        os.replace(last, aside)
    link_checkpoint(chosen, last)
