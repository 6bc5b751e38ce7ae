"""The differences of two runs, for a terminal, as Markdown, and as JSON lines."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from heed.commands.summary import shown_path
from heed.errors import one_line
from heed.tracking.agreement import Agreement
from heed.tracking.example_changes import Example, ExampleChanges
from heed.tracking.ingredients import Change
from heed.tracking.saved_run import SavedRun
from heed.tracking.table import Cell, Table

LONGEST_VALUE = 48
Writer = Callable[["Differences", "int | None"], Iterator[str]]


class Differences(NamedTuple):
    """All that differs between two runs.

    Attributes:
        one: The first run.
        other: The second.
        ingredients: What went into them: ingredient -> changes.
        metrics: Every metric of the records, the same or not.
        curves: How the logged numbers compare.
        examples: How the predictions compare; None where they are not of the same examples.
        lacking: Why predictions are not compared, or not scored; "" if they are.
    """

    one: SavedRun
    other: SavedRun
    ingredients: dict[str, list[Change]]
    metrics: list[Agreement]
    curves: Agreement
    examples: ExampleChanges | None
    lacking: str


def terminal(found: Differences, n: int | None) -> Iterator[str]:
    """Plain lines."""
    yield f"A  {_run_line(found.one)}"
    yield f"B  {_run_line(found.other)}"
    for name, changes in found.ingredients.items():
        if changes:
            yield f"\n{name}  (A / B)"
            width = max(len(change.name) for change in changes)
            for change in changes:
                name_cell = f"{one_line(change.name):<{width}}"
                yield f"  {name_cell}  {_cut(change.one)} / {_cut(change.other)}"
    same = [name for name, changes in found.ingredients.items() if not changes]
    if same:
        yield f"\nthe same: {', '.join(same)}"
    yield ""
    yield from _metrics(found).render("terminal").splitlines()
    yield f"\ncurves       {one_line(found.curves.detail)}"
    yield f"predictions  {one_line(_example_line(found))}"
    for example in _shown(found, n):
        yield ""
        lines = list(_side_by_side(found, example))
        width = max(len(name) for name, _ in lines)
        for name, text in lines:
            yield from _wrapped(f"  {name:<{width}}  ", text)


def markdown(found: Differences, n: int | None) -> Iterator[str]:
    """A page with tables."""
    yield f"# {one_line(found.one.folder.name)} and {one_line(found.other.folder.name)}\n"
    yield f"- A: `{_run_line(found.one)}`"
    yield f"- B: `{_run_line(found.other)}`"
    for name, changes in found.ingredients.items():
        if changes:
            yield f"\n## {name}\n"
            rows = [(change.name, str(change.one), str(change.other)) for change in changes]
            yield from _table(("", "A", "B"), rows).render("markdown").splitlines()
    yield "\n## Results\n"
    yield from _metrics(found).render("markdown").splitlines()
    yield f"\nCurves: {one_line(found.curves.detail)}\n"
    yield f"Predictions: {one_line(_example_line(found))}"
    for example in _shown(found, n):
        yield f"\n### Example {example.number}\n"
        texts = list(_side_by_side(found, example))[1:]
        yield from _table(("", ""), texts).render("markdown").splitlines()


def jsonl(found: Differences, n: int | None) -> Iterator[str]:
    """One object a line, each with its `kind`."""
    for kind, changes in found.ingredients.items():
        for change in changes:
            yield _json(kind=kind, name=change.name, a=change.one, b=change.other)
    for metric in found.metrics:
        yield _json(kind="metric", name=metric.name, a=metric.one, b=metric.other)
    yield _json(kind="curves", verdict=found.curves.verdict, detail=found.curves.detail)
    examples = found.examples
    if examples is None:
        yield _json(kind="predictions", reason=found.lacking)
        return
    yield _json(
        kind="predictions",
        shared=examples.shared,
        changed=len(examples.changed),
        **({"better": examples.better, "worse": examples.worse} if examples.score else {}),
        score=examples.score or None,
        only_a=examples.alone[0],
        only_b=examples.alone[1],
    )
    for example in _shown(found, n):
        line = {"index": example.number, "a": example.one, "b": example.other}
        if example.scores:
            line |= {"input": example.given, "reference": example.reference}
            line |= {"score_a": example.scores[0], "score_b": example.scores[1]}
        yield _json(kind="example", **line)


WRITERS: dict[str, Writer] = {"terminal": terminal, "markdown": markdown, "jsonl": jsonl}


def _run_line(run: SavedRun) -> str:
    fields = run.fields
    facts = f"{fields.get('task')}, {fields['status']}, {fields.get('steps') or 0:,} steps"
    return one_line(f"{shown_path(run.folder)}  ({facts})")


def _metrics(found: Differences) -> Table:
    rows = []
    for metric in found.metrics:
        one, other = metric.one, metric.other
        apart = "-" if one is None or other is None else f"{other - one:+.6g}"
        rows.append((metric.name, _figure(one), _figure(other), apart))
    table = _table(("metric", "A", "B", "B - A"), rows)
    table.right = {"A", "B", "B - A"}
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _example_line(found: Differences) -> str:
    examples = found.examples
    if examples is None:
        return f"not compared: {found.lacking}"
    line = f"{len(examples.changed):,} of {examples.shared:,} changed"
    if examples.score:
        line += f", {examples.better:,} better, {examples.worse:,} worse ({examples.score})"
    if any(examples.alone):
        line += f"; {examples.alone[0]:,} only in A, {examples.alone[1]:,} only in B"
    return line + (f"; {found.lacking}" if found.lacking else "")


def _shown(found: Differences, n: int | None) -> list[Example]:
    return found.examples.changed[:n] if found.examples else []


def _side_by_side(found: Differences, example: Example) -> Iterator[tuple[str, str]]:
    yield f"example {example.number}", example.given
    if example.scores:
        yield "reference", example.reference
    score = found.examples.score if found.examples else ""
    for number, (name, text) in enumerate((("A", example.one), ("B", example.other))):
        figure = f" {score} {example.scores[number]:.1f}" if example.scores else ""
        yield f"{name}{figure}", text


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table([*heads], [[Cell(text, text) for text in row] for row in rows])


def _wrapped(head: str, text: str) -> Iterator[str]:
    """A text on as many lines as it needs beside its name; nothing in it commands the terminal."""
    width = max(shutil.get_terminal_size().columns, len(head) + 30)
    yield from textwrap.wrap(
        one_line(text), width, initial_indent=head, subsequent_indent=" " * len(head)
    ) or [head.rstrip()]


def _cut(value: Any) -> str:
    text = one_line(str(value))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _json(**line: Any) -> str:
    return json.dumps(line, ensure_ascii=False, default=str)
