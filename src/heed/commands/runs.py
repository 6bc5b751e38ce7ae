"""`heed runs`: what runs there are, which of them is best, and which checkpoints may go."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heed.commands.run_words import (
    RunWords,
    check_output,
    names,
    one_of,
    put,
    read_run_words,
    render,
    table_format,
    text,
    truth,
    whole,
)
from heed.errors import EXIT_DONE, UserError
from heed.tracking.digest import Digest, local_time, with_news
from heed.tracking.run_filters import best_runs, check_keys, sort_runs, value_of
from heed.tracking.run_index import list_runs
from heed.tracking.table import FORMATS, Cell, Table

USAGE = """\
usage: heed runs [FOLDER ...] [KEY=VALUE ...] [sort=KEY] [best=METRIC] [columns=KEY,...]
       heed runs prune [FOLDER ...] [KEY=VALUE ...] [keep=best,last] [yes=true]

List the runs below a folder (outputs), the newest first. A key is a fact (task, name, status, seed,
steps, seconds, ...), a score (val/accuracy), a choice (model) or a config value (optimizer.lr).

  heed runs                                                  all runs below outputs
  heed runs task=sentiment status=done model=small seed=1,2  those that meet all conditions
  heed runs 'optimizer.lr>1e-4' 'val/accuracy>=80'           quotes keep the shell away
  heed runs sort=val/accuracy columns=optimizer.lr limit=10  the ten best, with their learning rate
  heed runs task=sentiment best=val/accuracy format=folder   only the best, ready for run=$(...)
  heed runs format=csv                                       for programs; also jsonl, markdown
  heed runs prune keep=best 'age_days>30'                    what would be deleted; yes=true does it
"""
DEFAULT_ROOT = "outputs"
FOLDER_ONLY = "folder"
MANY = 1000  # runs new to the index that are worth a word
KEYS: dict[str, tuple[Any, Any]] = {
    "paths.output_dir": (text, None),
    "sort": (text, None),
    "best": (text, None),
    "columns": (names, []),
    "limit": (whole(1), None),
    "format": (one_of((*FORMATS, FOLDER_ONLY)), None),
    "output": (text, None),
    "overwrite": (truth, False),
}
FACTS = (
    *("folder", "task", "name", "status", "seed", "monitor", "score", "steps", "epochs"),
    *("seconds", "started", "ended", "tokens", "parameters", "best_checkpoint", "study", "trial"),
    *("version", "commit", "fault"),
)


def main(argv: list[str]) -> int:
    """Run `heed runs` with the words after it; returns the exit code."""
    if argv[:1] == ["prune"]:
        from heed.commands.prune_runs import prune_runs

        return prune_runs(argv[1:])
    words = read_run_words(argv, usage=USAGE, keys=KEYS)
    asked = words.asked
    kind = table_format(asked)
    check_output(asked["output"], overwrite=asked["overwrite"])
    everything, chosen = choose_runs(words)
    ordered = in_order(chosen, asked)[: asked["limit"]]
    if kind == FOLDER_ONLY:
        here = os.getcwd() + os.sep
        content = "".join(f"{one.folder.removeprefix(here)}\n" for one in ordered)
    elif kind in ("csv", "jsonl"):
        content = data_table(ordered, asked["columns"], nested=kind == "jsonl").render(kind)
    elif ordered:
        table = shown_table(ordered, asked["columns"])
        content = render(table, kind, to_file=asked["output"] is not None, fold=False)
    else:
        content = ""
    put(content, asked["output"], overwrite=asked["overwrite"])
    if not ordered:
        where = ", ".join(roots(words))
        least = f"none of the {len(everything)} runs below {where} meets all conditions"
        print(least if everything else f"there are no runs below {where}", file=sys.stderr)
    warn_of_broken(everything)
    return EXIT_DONE


def roots(words: RunWords) -> list[str]:
    """The folders to look in."""
    return words.folders or [words.asked["paths.output_dir"] or DEFAULT_ROOT]


def choose_runs(words: RunWords) -> tuple[list[Digest], list[Digest]]:
    """All runs of the folders, and those that meet every condition.

    Raises:
        UserError: If a folder does not exist, or no run has a key that was named.
    """
    everything: dict[str, Digest] = {}
    for root in roots(words):
        path = Path(root).expanduser()
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise UserError(
                f"runs are looked for in a folder, but {root} {what}",
                "name another, or give paths.output_dir=FOLDER",
            )
        everything |= {one.folder: one for one in list_runs(path, progress=_progress)}
    digests = list(everything.values())
    with_news(digests)
    asked = words.asked
    keys = [one.key for one in words.filters] + list(asked.get("columns", []))
    keys += [key.removeprefix("-") for key in (asked.get("sort"), asked.get("best")) if key]
    check_keys(keys, digests, commands=asked)
    return digests, [one for one in digests if all(f.matches(one) for f in words.filters)]


def in_order(digests: Sequence[Digest], asked: dict[str, Any]) -> list[Digest]:
    """The runs as they are shown: the best of each task only, if that was asked for."""
    found = list(digests)
    if asked["best"]:
        found = best_runs(found, asked["best"])
    return sort_runs(found, asked["sort"]) if asked["sort"] else found


def shown_table(digests: Sequence[Digest], columns: Sequence[str]) -> Table:
    """What people read. Task and name are left out where the folders say them.

    The folder comes last, so that it is whole and can be copied where a terminal is too narrow.
    """
    told = all(f"/{one.task}/{one.name}/" in one.folder for one in digests if not one.fault)
    here = os.getcwd() + os.sep
    own = [] if told else ["task", "name"]
    table = Table(
        [*own, "status", "score", *columns, "steps", "time", "begun", "run folder"],
        right={"steps", "time", *columns},
    )
    for one in digests:
        score = "" if one.score is None else f"{one.monitor} {one.score:.2f}"
        cells = [Cell(value, str(value)) for value in (getattr(one, name) for name in own)]
        cells += [Cell(one.status, one.status), Cell(one.score, score)]
        cells += [_cell(value_of(one, column)) for column in columns]
        cells += [
            Cell(one.steps, "" if one.steps is None else f"{one.steps:,}"),
            Cell(one.seconds, duration(one.seconds)),
            Cell(one.started, local_time(one.started)),
            Cell(one.folder, one.folder.removeprefix(here)),
        ]
        table.rows.append(cells)
    return table


def data_table(digests: Sequence[Digest], columns: Sequence[str], *, nested: bool) -> Table:
    """What programs read: all facts and scores, and the columns that were asked for."""
    metrics = [] if nested else sorted({name for one in digests for name in one.metrics})
    extra = [name for name in columns if name not in (*FACTS, *metrics)]
    table = Table([*FACTS, *metrics, *(["metrics"] if nested else []), *extra])
    for one in digests:
        facts = [Cell(getattr(one, name)) for name in FACTS]
        scores = [Cell(one.metrics)] if nested else [Cell(one.metrics.get(m)) for m in metrics]
        table.rows.append([*facts, *scores, *(Cell(value_of(one, name)) for name in extra)])
    return table


def warn_of_broken(digests: Sequence[Digest]) -> None:
    """One line on stderr for all folders that cannot be read."""
    broken = [one for one in digests if one.fault]
    if broken:
        others = f"; and {len(broken) - 1} more: heed runs status=broken" if broken[1:] else ""
        print(f"note: a run folder cannot be read: {broken[0].fault}{others}", file=sys.stderr)


def duration(seconds: float | None) -> str:
    """Seconds as people read them: "0:02:23"; empty if unknown."""
    return "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(value, f"{value:.6g}")
    return Cell(value, "" if value is None else str(value))


def _progress(number: int, total: int) -> None:
    if number == 0 and total >= MANY:
        print(f"reading {total:,} run folders that are new to the index", file=sys.stderr)
