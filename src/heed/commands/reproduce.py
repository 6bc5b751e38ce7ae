"""`heed reproduce`: run a run again from its record, and say whether the numbers are the same."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.hardware import check_hardware
from heed.commands.in_world import in_world
from heed.commands.own_runs import recall
from heed.commands.quiet import quiet_libraries
from heed.commands.ranks import fit_to_world
from heed.commands.reproduction import Reproduction, differing_ingredients, opening, report
from heed.commands.resume import PLACES
from heed.commands.run_folder import claim_run_folder
from heed.commands.summary import print_config, shown_path
from heed.commands.train import check_nodes, write_down
from heed.commands.trained import Request, check_amended, read_request, unused_data
from heed.commands.world import World
from heed.errors import EXIT_DONE, EXIT_FAILED, RunFailed, UserError
from heed.tracking.config_file import load_config
from heed.tracking.folder import CONFIG, METRICS
from heed.tracking.lock import is_held, run_lock
from heed.tracking.record import RunRecord
from heed.tracking.saved_run import SavedRun, read_saved_run

USAGE = """\
usage: heed reproduce run=DIR [tolerance=0.0] [code=true] [against=DIR] [key=value ...]

Run a run again, in a new folder, from what its folder holds: frozen config, seed, tokenizer, the
fingerprints of its data; then compare metrics, curves, weights and predictions, and say which
ingredient differs (code, package versions, hardware, ...).

  heed reproduce run=DIR                       is it the same, bit for bit?
  heed reproduce run=DIR tolerance=0.01        or are all numbers within 0.01?
  heed reproduce run=DIR code=true             with the code it was trained with, from git
  heed reproduce run=DIR against=NEW_DIR       compare with a repetition that is there already
  heed reproduce run=DIR trainer.devices=2     what does this change make of it?

Exit code 0 if the numbers are the same or within the tolerance, 1 if not.
"""


def main(argv: list[str]) -> int:
    """Run `heed reproduce` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    return in_world(lambda world: reproduce(arguments, world))


def reproduce(arguments: Arguments, world: World | None) -> int:
    """Repeat a run, or look at a repetition that is there; returns the exit code.

    Raises:
        UserError: If there is nothing to repeat, the data are others, or a key is wrong.
    """
    request = read_request("reproduce", arguments)
    asked, record, config, changes = request
    tolerance = checked_tolerance(asked["tolerance"])
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    check_repeatable(record)
    if asked["against"]:
        return judge(record, Path(str(asked["against"])).expanduser(), tolerance)
    if not isinstance(asked["code"], bool):
        raise UserError(f"code must be true or false, but is {asked['code']!r}")
    keep_training(config, record, changes)
    unused = ("tokenizer.", *unused_data(record, config, changes))
    check_amended(config, arguments.config_dir, unused=unused)
    new_place(config, record, changes)
    if world is not None:
        fit_to_world(config["trainer"], world)
    check_nodes(config, world)
    check_hardware(config["trainer"], config["model"])
    check_data(config, record)
    if asked["code"]:
        if world is not None:
            raise UserError(
                "code=true starts a process of its own, and cannot be launched by torchrun or srun",
                "leave the launcher out; trainer.devices=N starts processes of this machine",
            )
        new = repeat_with_its_code(request)
    else:
        new = repeat(request, world)
    return judge(record, new, tolerance)


def checked_tolerance(value: Any) -> float:
    """The tolerance that was asked for.

    Raises:
        UserError: If it is no number of at least 0.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
        if number >= 0.0 and math.isfinite(number):
            return number
    raise UserError(f"tolerance must be a number of at least 0, but is {value!r}")


def check_repeatable(record: RunRecord) -> None:
    """Refuse a run that has nothing to compare with yet.

    Raises:
        UserError: If it is being trained, waits to be, or has made no step.
    """
    fields, place = record.fields, shown_path(record.run_dir)
    if is_held(record.run_dir):
        raise UserError(f"{place} is being trained by another process", "wait until it ends")
    if fields["status"] == "queued":
        raise UserError(
            f"{place} has not been trained yet, so there is nothing to compare with",
            f"train it: heed train resume={place}",
        )
    if not fields.get("steps") and not (record.run_dir / METRICS).is_file():
        why = f" ({fields['reason']})" if fields.get("reason") else ""
        raise UserError(
            f"{place} must have made a step, but ended as {fields['status']!r} before that{why}",
            "give a run that was trained",
        )


def check_data(config: dict[str, Any], record: RunRecord) -> None:
    """Refuse data that are not those of the record, before anything is made.

    Raises:
        UserError: With the splits whose fingerprints differ.
    """
    quiet_libraries()
    from heed.commands.assemble import build_corpus

    data = record.fields["data"]
    build_corpus(config, data.get("labels"), recorded=data)


def keep_training(config: dict[str, Any], record: RunRecord, changes: list[str]) -> None:
    """Let `trainer=NAME` choose devices and strategy only: how long and how is the run's own."""
    typed = {word.partition("=")[0] for word in changes}
    if "trainer" in typed:
        recorded = load_config(record.run_dir / CONFIG)["trainer"]
        for key, value in recorded.items():
            if key not in PLACES and f"trainer.{key}" not in typed:
                config["trainer"][key] = value


def new_place(config: dict[str, Any], record: RunRecord, changes: list[str]) -> None:
    """Let the repetition have a folder of its own; a stranger's config does not say where."""
    typed = {word.partition("=")[0] for word in changes}
    if "paths.run_dir" not in typed:
        config["paths"]["run_dir"] = None
    if "paths.output_dir" not in typed and recall(record) is None:
        config["paths"]["output_dir"] = "outputs"


def repeat(request: Request, world: World | None) -> Path:
    """Train the run again in this process; returns the new run folder.

    Raises:
        UserError: If the data found now are not those of the record.
    """
    _, record, config, changes = request
    _begin(config)
    with run_lock(Path(config["paths"]["run_dir"])):
        new = _write_down(request)
        print(opening(record, new, changes), flush=True)
        from heed.commands.session import run_session

        with _saying_how_to_compare(record, new.run_dir), _failing_again(record):
            run_session(config, new, origin=record)
    return new.run_dir


def repeat_with_its_code(request: Request) -> Path:
    """Train the run again in a process that runs the recorded code; returns the new run folder."""
    from heed.commands.restored_code import (
        check_restorable,
        restored_code,
        train_queued,
        with_whole_paths,
    )

    _, record, config, changes = request
    check_restorable(record)
    _begin(config)
    if "project" in record.fields["code"]:
        with_whole_paths(config)  # the process stands in the restored project
    folder = Path(config["paths"]["run_dir"])
    new = _write_down(request, queued=True)
    print(opening(record, new, changes), flush=True)
    with restored_code(record) as code, _saying_how_to_compare(record, folder):
        train_queued(folder, code)
    return folder


def _begin(config: dict[str, Any]) -> None:
    config["resume"] = None
    claim_run_folder(config)


def _write_down(request: Request, *, queued: bool = False) -> RunRecord:
    _, record, config, changes = request
    first = (record.fields["sessions"] or [record.fields])[0]
    words = [str(word) for word in first.get("overrides") or []]
    place = os.path.relpath(record.run_dir, config["paths"]["run_dir"])
    return write_down(config, [*words, *changes], queued=queued, lineage={"reproduces": place})


@contextlib.contextmanager
def _failing_again(record: RunRecord) -> Iterator[None]:
    """Let the repetition of a run that failed fail too: what led there is compared then."""
    try:
        yield
    except RunFailed as failure:
        if record.fields["status"] != "failed":
            raise
        print(f"{failure}\nIt failed, as the recorded run did.", file=sys.stderr)


@contextlib.contextmanager
def _saying_how_to_compare(record: RunRecord, folder: Path) -> Iterator[None]:
    """A repetition that is stopped can be gone on with, and compared then."""
    try:
        yield
    except SystemExit:
        old, new = shown_path(record.run_dir), shown_path(folder)
        print(f"Then compare with:  heed reproduce run={old} against={new}", file=sys.stderr)
        raise


def judge(record: RunRecord, folder: Path, tolerance: float) -> int:
    """Compare a repetition with its original, say and keep what came out; returns the exit code."""
    one = SavedRun(record.run_dir, record.fields, load_config(record.run_dir / CONFIG))
    other = read_saved_run(folder)
    if other.fields["status"] != "done" and one.fields["status"] == "done":
        raise UserError(
            f"{shown_path(folder)} must have come to its end, but is {other.fields['status']!r}",
            f"go on with it: heed train resume={shown_path(folder)}",
        )
    found = Reproduction.of(one, other, tolerance)
    print(report(found, one, other, differing_ingredients(one, other)))
    found.save(folder)
    return EXIT_DONE if found.reproduced else EXIT_FAILED
