"""`heed diff`: what differs between two runs, from the config down to single predictions."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.compose import compose
from heed.commands.diff_formats import WRITERS, Differences
from heed.commands.own_runs import check_files, confine, recall
from heed.commands.run_paths import check_shape, open_run
from heed.errors import EXIT_DONE, UserError, nearest
from heed.files import replacing, writing_error
from heed.tracking.agreement import compare_curves, compare_metrics
from heed.tracking.example_changes import (
    ExampleChanges,
    example_changes,
    keeps_references,
    test_fingerprint,
    why_not_comparable,
)
from heed.tracking.example_scores import example_scorer
from heed.tracking.folder import CONFIG
from heed.tracking.ingredients import ingredient_changes
from heed.tracking.record import RunRecord
from heed.tracking.saved_run import SavedRun, read_saved_run

USAGE = """\
usage: heed diff RUN_A RUN_B [n=5] [format=terminal|markdown|jsonl] [output=FILE]

Show what differs between two runs: config, code, data, package versions, machine, results, and the
predictions of the test split: which changed, which got better, the largest changes side by side.

  heed diff RUN_A RUN_B
  heed diff RUN_A RUN_B n=20 output=changes.md
  heed diff RUN_A RUN_B n=null format=jsonl        one object a line, every changed example
"""
SUFFIXES = {".md": "markdown", ".jsonl": "jsonl", ".txt": "terminal"}


def main(argv: list[str]) -> int:
    """Run `heed diff` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    asked, folders = read_words(arguments)
    one, other = (read_run(folder) for folder in folders)
    found = differences(one, other, arguments.trust)
    with writing(asked) as file:
        for line in WRITERS[asked["format"]](found, asked["n"]):
            print(line, file=file)
    return EXIT_DONE


def read_words(arguments: Arguments) -> tuple[dict[str, Any], list[Path]]:
    """The verb's own keys, and the two run folders.

    Raises:
        UserError: If there are not two runs, or a key or value is wrong.
    """
    if arguments.multirun:
        raise UserError("heed diff compares two runs, and has no -m", "call it for each pair")
    words = [word for word in arguments.overrides if "=" in word and not Path(word).exists()]
    runs = [Path(word).expanduser() for word in arguments.overrides if word not in words]
    if len(runs) != 2:
        raise UserError(
            f"heed diff needs two run folders, but has {len(runs)}", "type heed diff RUN_A RUN_B"
        )
    asked = compose("diff", words)
    n = asked["n"]
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
        raise UserError(f"n must be a whole number of at least 0, or null for all, but is {n!r}")
    if asked["format"] is None:
        suffix = Path(str(asked["output"])).suffix
        asked["format"] = SUFFIXES.get(suffix, "terminal")
    if asked["format"] not in WRITERS:
        raise UserError(
            f"format must be one of {', '.join(WRITERS)}, but is {asked['format']!r}",
            nearest(str(asked["format"]), WRITERS),
        )
    return asked, runs


def read_run(folder: Path) -> SavedRun:
    """A run that may be anybody's: it is read, and nothing that it names is built.

    Raises:
        UserError: If it is no run folder, or broken.
    """
    run = read_saved_run(folder)
    if recall(RunRecord(run.folder, run.fields)) is None:
        check_files(run.folder)
    check_shape(run.config, run.folder / CONFIG)
    return run


def differences(one: SavedRun, other: SavedRun, trust: Sequence[str] = ()) -> Differences:
    """All that differs between two runs."""
    why = why_not_comparable(one, other)
    examples: ExampleChanges | None = None
    if not why:
        records, lacking = records_of_test(one, trust)
        examples = example_changes(one, other, records, example_scorer(one.config))
        why = lacking
    return Differences(
        one=one,
        other=other,
        ingredients=ingredient_changes(one, other),
        metrics=compare_metrics(one, other, tolerance=0.0),
        curves=compare_curves(one, other, tolerance=0.0),
        examples=examples,
        lacking=why,
    )


def records_of_test(run: SavedRun, trust: Sequence[str]) -> tuple[Any, str]:
    """The records of a run's test data, from the cache or read again; else None and the reason.

    They are read again only if predictions could not be scored without them.
    """
    from heed.commands.assemble import build_corpus
    from heed.data.corpus import open_records

    fingerprint = test_fingerprint(run)
    assert fingerprint is not None
    record = RunRecord(run.folder, run.fields)
    config = copy.deepcopy(run.config)
    confine(config, own=recall(record) is not None)
    kept = open_records(config["data"]["cache_dir"], fingerprint)
    if kept is not None or keeps_references(run):
        return kept, ""
    try:
        record, config = open_run(run.folder, trust=trust)
        data = record.fields["data"]
        corpus = build_corpus(config, data.get("labels"), recorded=data)
        return corpus.records("test"), ""
    except UserError as error:
        return None, f"predictions are not scored, since the data cannot be had ({error.problem})"


@contextmanager
def writing(asked: dict[str, Any]) -> Iterator[IO[str] | None]:
    """Where the answer goes; None is the terminal.

    Raises:
        UserError: If the file exists, or cannot be written.
    """
    target = str(asked["output"])
    if target == "-":
        yield None
        return
    path = Path(target).expanduser()
    if path.is_dir():
        raise UserError(f"output must be a file or -, but {target} is a folder")
    if path.exists() and not asked["overwrite"]:
        raise UserError(f"output={target} exists", "give another name, or overwrite=true")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(path, error, elsewhere="output=FILE") from error
    with replacing(path, "w", elsewhere="output=FILE") as file:
        yield file
    print(f"written to {path}")
