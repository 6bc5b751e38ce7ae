"""Pictures of a comparison, as PNG: learning curves, and scores against what they cost."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heed.tracking.comparison import Comparison
from heed.tracking.curves import Curve, read_curve
from heed.tracking.grouping import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)  # Okabe, Ito
LONGEST_LABEL = 60
DOTS_PER_INCH = 130


def learning_curves(made: Comparison) -> bytes | None:
    """PNG: training loss, and the monitored score, over steps; None if nothing was logged.

    A system is a line: the mean of its runs at the steps where all have logged, and each run thin.
    """
    watched = made.groups[0].runs[0].monitor
    metrics = [name for name in ("train/loss", watched) if name]
    curves = {
        name: [[read_curve(run.path, name) for run in group.runs] for group in made.groups]
        for name in metrics
    }
    curves = {name: groups for name, groups in curves.items() if any(map(any, groups))}
    if not curves:
        return None
    figure, panels = _panels(len(curves))
    for axes, (name, groups) in zip(panels, curves.items(), strict=True):
        for number, (group, runs) in enumerate(zip(made.groups, groups, strict=True)):
            _draw_curves(axes, [run for run in runs if run], number, group)
        axes.set(xlabel="step", ylabel=name)
    return _png(figure, panels[0])


def score_against_cost(made: Comparison, metric: str) -> bytes | None:
    """PNG: a score over training time, and over tokens seen; None if no run has both.

    A run is a dot; a system's mean is a large one.
    """
    costs = {"training_seconds": "training time (s)", "tokens": "tokens seen in training"}
    have = [
        name
        for name in costs
        if any(getattr(r, name) and metric in r.metrics for g in made.groups for r in g.runs)
    ]
    if not have:
        return None
    figure, panels = _panels(len(have))
    for axes, name in zip(panels, have, strict=True):
        for number, group in enumerate(made.groups):
            pairs = [
                (float(getattr(run, name)), run.metrics[metric])
                for run in group.runs
                if getattr(run, name) and metric in run.metrics
            ]
            if pairs:
                _draw_dots(axes, pairs, number, group)
        axes.set(xlabel=costs[name], ylabel=metric)
    return _png(figure, panels[0])


def _draw_curves(axes: Axes, runs: Sequence[Curve], number: int, group: Group) -> None:
    if not runs:
        return
    style = _style(number)
    by_step: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        for step, value in run:
            by_step[step].append(value)
    shared = sorted(step for step, values in by_step.items() if len(values) >= len(runs))
    mean = [statistics.fmean(by_step[step]) for step in shared]
    marker = "o" if len(shared) < 2 else None
    if len(runs) > 1:
        for run in runs:
            axes.plot(*zip(*run, strict=True), **style, linewidth=0.6, alpha=0.5)
    if shared:
        axes.plot(shared, mean, **style, linewidth=1.8, marker=marker, label=_label(group))
    else:
        axes.plot([], [], **style, linewidth=1.8, label=_label(group))


def _draw_dots(axes: Axes, pairs: Sequence[tuple[float, float]], number: int, group: Group) -> None:
    colour = COLOURS[number % len(COLOURS)]
    costs, scores = ([pair[axis] for pair in pairs] for axis in (0, 1))
    if len(pairs) > 1:
        axes.scatter(costs, scores, s=14, color=colour, alpha=0.5)
    centre = statistics.fmean(costs), statistics.fmean(scores)
    axes.scatter(*centre, 55, color=colour, label=_label(group), edgecolors="white")


def _style(number: int) -> dict[str, Any]:
    lines = ("-", "--", ":", "-.")
    colour = COLOURS[number % len(COLOURS)]
    return {"color": colour, "linestyle": lines[number // len(COLOURS) % len(lines)]}


def _label(group: Group) -> str:
    """A label as matplotlib takes it: not too long, no formula, and not hidden by a first "_"."""
    text = group.label if len(group.label) <= LONGEST_LABEL else group.label[:LONGEST_LABEL] + "..."
    return text.replace("$", r"\$").lstrip("_")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * count, 3.6), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _png(figure: Figure, named: Axes) -> bytes:
    handles, labels = named.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8
        )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()
