"""A comparison as a table: for people, and for programs."""

from __future__ import annotations

import datetime

from heed.tracking.comparison import SAME, Comparison, cost_of
from heed.tracking.seed_statistics import Spread
from heed.tracking.table import Cell, Table


def shown_table(made: Comparison) -> Table:
    """Mean and deviation, interval and p-value of each score; the best mean stands out."""
    several = any(len(group.runs) > 1 for group in made.groups)
    table = Table(["system", "runs"], right={"runs", "time"})
    columns = {}
    for metric in made.metrics:
        short = _short(metric, made.metrics)
        tested = any(metric in p for p in made.p_values)
        columns[metric] = (several, tested)
        names = [
            short,
            *([f"{made.confidence:.0%}"] if several else []),
            *(["p"] if tested else []),
        ]
        table.columns += names
        table.right |= set(names)
    table.columns.append("time")
    for number, group in enumerate(made.groups):
        row = [Cell(group.label, group.label), Cell(len(group.runs), str(len(group.runs)))]
        for metric, (with_interval, with_p) in columns.items():
            found = made.spreads[number].get(metric)
            best = number in made.best(metric)
            text = "" if found is None else f"{found.mean:.2f}"
            if found is not None and found.deviation is not None:
                text += f" ± {found.deviation:.2f}"
            row.append(Cell(found and found.mean, text, best))
            if with_interval:
                row.append(Cell(None, _interval(found)))
            if with_p:
                row.append(_p_cell(made.p_values[number].get(metric), number))
        seconds = cost_of(group, "training_seconds")
        shown = "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
        table.rows.append([*row, Cell(seconds, shown)])
    return table


def data_table(made: Comparison) -> Table:
    """Every figure in a column of its own."""
    keys = list(dict.fromkeys(key for group in made.groups for key in group.values))
    table = Table(["system", *keys, "runs", "seeds"])
    for metric in made.metrics:
        table.columns += [f"{metric}{end}" for end in ("", ".sd", ".low", ".high", ".p")]
    table.columns += ["training_seconds", "tokens"]
    for number, group in enumerate(made.groups):
        row = [Cell(group.label), *(Cell(group.values.get(key)) for key in keys)]
        row += [Cell(len(group.runs)), Cell(group.seeds)]
        for metric in made.metrics:
            found = made.spreads[number].get(metric)
            p = made.p_values[number].get(metric)
            figures = (
                [None] * 4
                if found is None
                else [found.mean, found.deviation, found.low, found.high]
            )
            row += [*map(Cell, figures), Cell(1.0 if p == SAME else p)]
        row += [Cell(cost_of(group, "training_seconds")), Cell(cost_of(group, "tokens"))]
        table.rows.append(row)
    return table


def _short(metric: str, metrics: list[str]) -> str:
    """The metric without its stage, where that is the same for all."""
    stages = {name.partition("/")[0] for name in metrics}
    return metric.partition("/")[2] if stages == {"test"} else metric


def _interval(found: Spread | None) -> str:
    if found is None or found.low is None or found.high is None:
        return ""
    return f"{found.low:.2f} to {found.high:.2f}"


def _p_cell(p: float | None, number: int) -> Cell:
    if number == 0:
        return Cell(None, "-")
    if p is None:
        return Cell(None)
    return Cell(p, "same" if p == SAME else f"{p:.4f}")
