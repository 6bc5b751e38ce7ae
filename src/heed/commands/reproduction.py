"""What came of running a run again: the verdict, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.commands.run_comparison import compare_weights
from heed.commands.summary import shown_path
from heed.errors import one_line
from heed.files import replacing
from heed.tracking.agreement import (
    Agreement,
    Verdict,
    compare_curves,
    compare_metrics,
    compare_predictions,
    overall,
)
from heed.tracking.ingredients import Change, ingredient_changes, with_effect
from heed.tracking.record import RunRecord
from heed.tracking.saved_run import SavedRun
from heed.tracking.table import Cell, Table

FILE_NAME = "reproduction.json"
LONGEST_VALUE = 60
Ingredients = dict[str, list[Change]]


@dataclass
class Reproduction:
    """How a run compares with one that was made from its record.

    Args:
        metrics: One agreement for each metric of the record.
        evidence: Curves, weights and predictions.
        tolerance: The largest difference that counts as reproduced.
        finished: Whether the first run had come to its end.
    """

    metrics: list[Agreement]
    evidence: list[Agreement]
    tolerance: float
    finished: bool

    @classmethod
    def of(cls, one: SavedRun, other: SavedRun, tolerance: float) -> Reproduction:
        """Compare two runs. Of one that was not finished, only the curves can be compared."""
        finished = one.fields["status"] == "done"
        evidence = [compare_curves(one, other, tolerance)]
        if finished:
            records = [RunRecord(run.folder, run.fields) for run in (one, other)]
            evidence.append(compare_weights(records[0], records[1], tolerance))
            evidence.append(compare_predictions(one, other, tolerance))
        metrics = compare_metrics(one, other, tolerance) if finished else []
        return cls(metrics, evidence, tolerance, finished)

    @property
    def verdict(self) -> Verdict:
        """Bit for bit only if everything is.

        With a tolerance it is the metrics that decide, and for a run that was not finished its
        curves: one word more or less in a prediction is within a tolerance of the scores.
        """
        deciding = self.metrics if self.metrics else self.evidence
        everything = overall([*self.metrics, *self.evidence])
        if everything == "differs" and self.tolerance > 0.0 and overall(deciding) != "differs":
            return "within tolerance"
        return everything

    @property
    def reproduced(self) -> bool:
        """Whether the numbers are the same, or within the tolerance."""
        return self.verdict in ("bit for bit", "within tolerance")

    def save(self, folder: Path) -> None:
        """Keep the verdict in the folder of the repetition."""
        said = {
            "verdict": self.verdict,
            "tolerance": self.tolerance,
            "compared": [
                {**one._asdict(), "distance": _plain(one.distance)}
                for one in (*self.metrics, *self.evidence)
            ],
        }
        with replacing(folder / FILE_NAME, "w") as file:
            json.dump(said, file, indent=2, ensure_ascii=False)
            file.write("\n")


def differing_ingredients(one: SavedRun, other: SavedRun) -> Ingredients:
    """What went into two runs and differs, as far as numbers may come from it."""
    return with_effect(ingredient_changes(one, other))


def opening(record: RunRecord, new: RunRecord, changes: list[str]) -> str:
    """What is about to be repeated, and what is known to differ before training."""
    lines = [f"repeats {shown_path(record.run_dir)}"]
    fields = record.fields
    if fields["status"] != "done":
        why = f": {one_line(str(fields['reason']))}" if fields.get("reason") else ""
        lines.append(
            f"It was not finished ({fields['status']}{why}), so that only its curves up to there "
            "can be compared."
        )
    if fields["sessions"]:
        count = len(fields["sessions"]) + 1
        lines.append(
            f"It was trained in {count} sittings, and is repeated in one, by the config of the "
            "last; an exact resume makes no difference."
        )
        later = [*fields["sessions"][1:], fields]
        words = [str(word) for one in later for word in one.get("overrides") or []]
        if words:
            lines.append(f"What was changed then may make one: {', '.join(words)}")
    lines += [f"changed: {word}" for word in changes]
    differing: list[str] = []
    for name in ("code", "versions", "platform", "hardware"):
        one, other = (SavedRun(run.run_dir, run.fields, {}) for run in (record, new))
        for change in with_effect({name: ingredient_changes(one, other)[name]}).get(name, []):
            differing.append(_change_line(name, change))
    if differing:
        lines += ["differs already (recorded / now)", *differing]
    return "\n".join(lines) + "\n"


def report(found: Reproduction, one: SavedRun, other: SavedRun, ingredients: Ingredients) -> str:
    """What to print of a reproduction."""
    lines = [f"\nrecorded  {shown_path(one.folder)}", f"now       {shown_path(other.folder)}", ""]
    lines += _table(found.metrics)
    lines += [f"{a.name:<12}  {a.verdict:<16}  {one_line(a.detail)}" for a in found.evidence]
    if ingredients:
        lines += ["", "ingredients that differ (recorded / now)"]
        lines += [
            _change_line(name, change)
            for name, changes in ingredients.items()
            for change in changes
        ]
    else:
        lines += ["", "no ingredient differs: config, code, data, tokenizer, versions, machine"]
    return "\n".join([*lines, "", *_conclusion(found, other, ingredients)])


def _table(metrics: list[Agreement]) -> Iterator[str]:
    if not metrics:
        return
    table = Table(["metric", "recorded", "now", "verdict"])
    for one in metrics:
        texts = (one.name, _value(one.one), _value(one.other), _verdict(one))
        table.rows.append([Cell(text, text) for text in texts])
    yield table.render("terminal")


def _verdict(agreement: Agreement) -> str:
    if agreement.detail:
        return f"{agreement.verdict} ({agreement.detail})"
    if agreement.distance == 0.0:
        return agreement.verdict
    return f"{agreement.verdict} (by {agreement.distance:.3g})"


def _value(value: float | None) -> str:
    return "-" if value is None else repr(value)


def _change_line(ingredient: str, change: Change) -> str:
    return (
        f"  {ingredient:<10}{one_line(change.name)}: {_short(change.one)} / {_short(change.other)}"
    )


def _short(value: Any) -> str:
    text = one_line(str(value))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _conclusion(found: Reproduction, other: SavedRun, ingredients: Ingredients) -> Iterator[str]:
    if found.verdict == "bit for bit":
        yield "Reproduced, bit for bit."
        return
    if found.verdict == "within tolerance":
        yield f"Reproduced within the tolerance of {found.tolerance:g}, not bit for bit."
    elif found.verdict == "not compared":
        yield "NOT reproduced: the folders hold nothing that could be compared."
    else:
        wrong = [a.name for a in (*found.metrics, *found.evidence) if a.verdict == "differs"]
        yield f"NOT reproduced: a difference in {', '.join(wrong)}."
    yield from _hints(other, ingredients)


def _hints(other: SavedRun, ingredients: Ingredients) -> Iterator[str]:
    """What may lie behind a difference, from the most likely on."""
    computing = other.fields["computing"]
    changed = {f"{name}.{change.name}" for name, found in ingredients.items() for change in found}
    if other.config.get("trainer", {}).get("max_time"):
        yield "  - trainer.max_time ends a training by the clock, after another number of steps"
    if computing.get("accelerator") == "cuda" and not computing.get("deterministic"):
        yield (
            "  - a GPU adds up in no fixed order: train with trainer.deterministic=true, and "
            "reproduce that"
        )
    if changed & {"computing.threads", "hardware.usable_threads"}:
        yield ("  - another number of threads adds up in another order; OMP_NUM_THREADS=N sets it")
    if "computing.processes" in changed:
        yield "  - another number of processes draws other dropout, and adds up in another order"
    if any(name.startswith(("hardware.", "computing.cpu", "computing.cu")) for name in changed):
        yield "  - another processor has other kernels, which round differently; no setting helps"
    if "versions.torch" in changed:
        yield "  - another PyTorch has other kernels: install the recorded versions"
    if "code" in ingredients:
        yield "  - the code is another: code=true runs the recorded commit"
    if not ingredients and computing.get("accelerator") != "cuda":
        yield "  - nothing that is recorded differs: look for random numbers drawn outside torch,"
        yield "    numpy and random, or for code of your own that reads the clock or the machine"


def _plain(distance: float) -> float | None:
    return distance if distance < float("inf") else None
