"""`heed compare`: systems side by side, with intervals over seeds and tests of significance."""

from __future__ import annotations

import glob
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.run_words import (
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
from heed.commands.summary import shown_path
from heed.errors import EXIT_DONE, UserError
from heed.tracking.digest import Digest, with_news
from heed.tracking.run_filters import Filter, check_keys
from heed.tracking.run_index import list_runs
from heed.tracking.table import FORMATS

if TYPE_CHECKING:
    from heed.tracking.comparison import Comparison

USAGE = """\
usage: heed compare RUN ... [KEY=VALUE ...] [by=KEY,...] [metric=METRIC,...] [plots=DIR]

Compare systems. RUN is a run folder, a pattern, or a folder with runs below it, such as a study.
Runs that differ in nothing but their seed are one system; the first is the baseline. Shown are
mean, deviation and confidence interval over seeds, and whether the saved test predictions differ by
more than chance.

  heed compare outputs/sentiment                        every system below a folder
  heed compare RUN_A RUN_B                              two runs
  heed compare outputs/sentiment by=model,data          groups by these keys alone
  heed compare outputs status=done task=translation metric=bleu,chrf test=randomization
  heed compare outputs/sentiment output=table.tex       LaTeX; also .md, .csv, .jsonl
  heed compare outputs/sentiment plots=DIR              learning curves, score against cost, a page
"""
ANY_STATUS = "any"


def share(key: str, value: str) -> float:
    """A number between 0 and 1."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise UserError(f"{key} must be between 0 and 1, but is {value!r}", f"try {key}=0.95")
    return number


KEYS: dict[str, tuple[Any, Any]] = {
    "by": (names, []),
    "metric": (names, []),
    "confidence": (share, 0.95),
    "test": (one_of(("bootstrap", "randomization", "none")), "bootstrap"),
    "test_samples": (whole(1), 0),
    "test_seed": (whole(0), 12345),
    "plots": (text, None),
    "format": (one_of(FORMATS), None),
    "output": (text, None),
    "overwrite": (truth, False),
}


def main(argv: list[str]) -> int:
    """Run `heed compare` with the words after it; returns the exit code."""
    words = read_run_words(argv, usage=USAGE, keys=KEYS)
    asked = words.asked
    kind = table_format(asked)
    check_output(asked["output"], overwrite=asked["overwrite"])
    folder = plots_folder(asked["plots"])
    if not words.folders:
        raise UserError(
            "heed compare needs runs", "name run folders, or a folder with runs below it"
        )
    found = find_runs(words.folders)
    with_news(found)
    check_keys([*(one.key for one in words.filters), *asked["by"]], found, commands=asked)
    runs = chosen_runs(found, words.filters)
    from heed.tracking.comparison import PairedTest, compare
    from heed.tracking.comparison_tables import data_table, shown_table

    made = compare(
        runs,
        by=asked["by"],
        metrics=asked["metric"],
        confidence=asked["confidence"],
        testing=PairedTest(asked["test"], asked["test_samples"], asked["test_seed"]),
    )
    for_programs = kind in ("csv", "jsonl")
    to_file = asked["output"] is not None
    table = data_table(made) if for_programs else shown_table(made)
    notes = note_lines(made, kind)
    content = render(table, kind, to_file=to_file)
    put(content if for_programs else content + notes, asked["output"], overwrite=asked["overwrite"])
    if for_programs and notes:
        print(notes.strip(), file=sys.stderr)
    if folder is not None:
        write_plots(made, folder, ["heed", "compare", *argv])
    return EXIT_DONE


def find_runs(words: Sequence[str]) -> list[Digest]:
    """Every run that the words name, in their order; below one folder the first begun comes first.

    Raises:
        UserError: For a word that leads to no run.
    """
    found: dict[str, Digest] = {}
    for word in words:
        path = Path(word).expanduser()
        places = [path] if path.exists() else [Path(one) for one in sorted(glob.glob(str(path)))]
        if not places:
            raise UserError(
                f"{word} is no run folder, no folder with runs below it, and no pattern of any",
                "heed runs lists what there is",
            )
        runs = {one.folder: one for place in places for one in reversed(list_runs(place))}
        if not runs:
            raise UserError(
                f"there are no runs at or below {word}", "heed runs lists what there is"
            )
        found |= {folder: one for folder, one in runs.items() if folder not in found}
    return list(found.values())


def chosen_runs(found: Sequence[Digest], filters: Sequence[Filter]) -> list[Digest]:
    """The runs to compare: those that meet the conditions and are done, or as `status=` says.

    Raises:
        UserError: If there are none.
    """
    asked = any(one.key == "status" for one in filters)
    conditions = [one for one in filters if (one.key, one.typed) != ("status", ANY_STATUS)]
    met = [one for one in found if all(f.matches(one) for f in conditions)]
    runs = [one for one in met if not one.fault and (asked or one.status == "done")]
    left_out = [one for one in met if one not in runs]
    if left_out:
        states = sorted({one.status for one in left_out})
        print(
            f"note: left out {len(left_out)} of {len(met)} runs, whose status is "
            f"{' or '.join(states)} ({shown_path(left_out[0].path)})",
            file=sys.stderr,
        )
    if not runs:
        raise UserError(
            f"none of the {len(found)} runs can be compared",
            "status=any takes those that have not ended well"
            if left_out
            else "loosen the conditions",
        )
    return runs


def note_lines(made: Comparison, kind: str) -> str:
    """The notes as they stand below a table."""
    if not made.notes:
        return ""
    start = {"latex": "% ", "markdown": "- "}.get(kind, "")
    return "\n" + "".join(f"{start}{note}\n" for note in made.notes)


def plots_folder(place: str | None) -> Path | None:
    """Where the pictures go.

    Raises:
        UserError: If it is a file.
    """
    if place is None:
        return None
    folder = Path("comparison" if place == "true" else place).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"plots must be a folder, but {place} is a file")
    return folder


def write_plots(made: Comparison, folder: Path, command: Sequence[str]) -> None:
    """Write the pictures and the page, in the place of earlier ones."""
    from heed.files import replacing, writing_error
    from heed.tracking.comparison_page import comparison_page
    from heed.tracking.figures import learning_curves, score_against_cost

    pictures = {
        "learning-curves": ("Learning curves", learning_curves(made)),
        "score-against-cost": ("Score against cost", score_against_cost(made, made.metrics[0])),
    }
    drawn = {name: (title, png) for name, (title, png) in pictures.items() if png is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error, elsewhere="plots=FOLDER") from error
    for name, (_, png) in drawn.items():
        with replacing(folder / f"{name}.png", elsewhere="plots=FOLDER") as file:
            file.write(png)
    with replacing(folder / "comparison.html", "w", elsewhere="plots=FOLDER") as file:
        file.write(comparison_page(made, dict(drawn.values()), shlex.join(command)))
    files = [*(f"{name}.png" for name in drawn), "comparison.html"]
    print(f"written to {shown_path(folder)}: {', '.join(files)}", file=sys.stderr)
