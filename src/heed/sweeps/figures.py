"""The figures of a study's report, drawn with matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.sweeps.objective import Objective
from heed.sweeps.outcomes import best_trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

DONE, PRUNED, BEST = "#3b6ea5", "#b9b9b9", "#c8502d"
DOTS_PER_INCH = 120
_LONGEST_NAME = 24
_SLICES_AT_MOST = 24


def draw_all(study: Any, objectives: Sequence[Objective], folder: Path) -> dict[str, Path]:
    """Draw every figure that the trials are enough for.

    Args:
        study: Optuna's study.
        objectives: What it makes best.
        folder: Where the PNG files go; it exists.

    Returns:
        {title: file}, in the order in which they are read.
    """
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not done:
        return {}
    drawn: dict[str, Path] = {}

    def draw(title: str, name: str, figure: Figure | None) -> None:
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=DOTS_PER_INCH)
            drawn[title] = path

    for index, objective in enumerate(objectives):
        more = f" of {objective.name}" if len(objectives) > 1 else ""
        end = f"-{index + 1}" if len(objectives) > 1 else ""
        draw(f"History{more}", f"history{end}", history(trials, objectives, index))
        draw(f"Importance{more}", f"importance{end}", importance(study, objectives, index))
        draw(
            f"Parallel coordinates{more}",
            f"parallel_coordinates{end}",
            parallel_coordinates(done, objective, index),
        )
        draw(f"Slices{more}", f"slices{end}", slices(trials, objective, index))
    if len(objectives) > 1:
        draw("Pareto front", "pareto_front", pareto_front(done, objectives))
    return drawn


def history(
    trials: Sequence[FrozenTrial], objectives: Sequence[Objective], index: int
) -> Figure | None:
    """The value of each trial by its number, and the best so far."""
    objective = objectives[index]
    figure, axes = _figure(8, 3.6)
    ended = [trial for trial in trials if trial.values]
    for state, colour, name in (("COMPLETE", DONE, "done"), ("PRUNED", PRUNED, "pruned")):
        part = [trial for trial in ended if trial.state.name == state]
        if part and len(part[0].values) > index:
            values = [trial.values[index] for trial in part]
            axes.scatter([trial.number for trial in part], values, s=22, color=colour, label=name)
    numbers: list[int] = []
    best: list[float] = []
    for trial in ended:
        if trial.state.name == "COMPLETE":
            value = trial.values[index]
            better = not best or objective.better(value, best[-1])
            numbers.append(trial.number)
            best.append(value if better else best[-1])
    axes.step(numbers, best, where="post", color=BEST, linewidth=1.4, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(objective.name)
    axes.legend(frameon=False)
    return figure


def importances(study: Any, objectives: Sequence[Objective], index: int) -> dict[str, float]:
    """How much each key explains of the values (PED-ANOVA); empty where trials are too few."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=(lambda trial: trial.values[index]) if len(objectives) > 1 else None,
            )
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}
    return {key: value for key, value in found.items() if value == value}


def importance(study: Any, objectives: Sequence[Objective], index: int) -> Figure | None:
    """A bar for each key."""
    found = importances(study, objectives, index)
    if not found:
        return None
    keys = list(found)[::-1]
    figure, axes = _figure(7, 0.9 + 0.36 * len(keys))
    axes.barh(range(len(keys)), [found[key] for key in keys], color=DONE, height=0.6)
    axes.set_yticks(range(len(keys)), [_short(key) for key in keys])
    axes.set_xlabel(f"share of what explains {objectives[index].name}")
    axes.set_xlim(0, 1)
    return figure


def parallel_coordinates(
    done: Sequence[FrozenTrial], objective: Objective, index: int
) -> Figure | None:
    """A line for each trial through its values of all keys, the better the darker."""
    from matplotlib import colormaps

    keys = _keys(done)
    if not keys:
        return None
    figure, axes = _figure(max(6.0, 1.7 * (len(keys) + 1)), 4.2)
    scales = [_Scale(done, key) for key in keys]
    values = [trial.values[index] for trial in done]
    low, high = min(values), max(values)
    order = sorted(done, key=lambda trial: trial.values[index], reverse=objective.mode == "min")
    for trial in order:  # the best last, above the others
        share = (trial.values[index] - low) / (high - low) if high > low else 1.0
        goodness = share if objective.mode == "max" else 1.0 - share
        points = [(0.0, share)]
        for place, scale in enumerate(scales, start=1):
            height = scale.height(trial)
            points.append((float(place), float("nan") if height is None else height))
        axes.plot(*zip(*points, strict=True), color=colormaps["Blues"](0.15 + 0.85 * goodness))
    for place, scale in enumerate(scales, start=1):
        axes.axvline(place, color="0.8", linewidth=0.8, zorder=0)
        for height, text in scale.ticks():
            _label(axes, place, height, text)
    for height, value in ((0.0, low), (1.0, high)):
        _label(axes, 0, height, f"{value:.4g}")
    axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xticks(range(len(keys) + 1), [objective.name, *(_short(key) for key in keys)])
    axes.set_yticks([])
    axes.set_xlim(-0.35, len(keys) + 0.5)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def slices(trials: Sequence[FrozenTrial], objective: Objective, index: int) -> Figure | None:
    """For each key the values of the trials over its own."""
    from matplotlib.figure import Figure as Canvas

    ended = [trial for trial in trials if trial.values and len(trial.values) > index]
    keys = _keys(ended)[:_SLICES_AT_MOST]
    if not keys:
        return None
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Canvas(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    for place, key in enumerate(keys, start=1):
        axes = figure.add_subplot(rows, columns, place)
        scale = _Scale(ended, key)
        for state, colour in (("PRUNED", PRUNED), ("COMPLETE", DONE)):
            part = [t for t in ended if t.state.name == state and key in t.params]
            axes.scatter(
                [scale.number(trial) for trial in part],
                [trial.values[index] for trial in part],
                s=18,
                color=colour,
            )
        if scale.names:
            axes.set_xticks(range(len(scale.names)), [_short(name) for name in scale.names])
            axes.set_xlim(-0.5, len(scale.names) - 0.5)
        elif scale.log:
            axes.set_xscale("log")
        axes.set_xlabel(_short(key, 34))
        if place % columns == 1 or columns == 1:
            axes.set_ylabel(objective.name)
        _plain(axes)
    return figure


def pareto_front(done: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> Figure:
    """The first two objectives against each other, the trade-offs in colour."""
    figure, axes = _figure(6, 4.6)
    front = best_trials(done, objectives)
    for part, colour, name in ((done, PRUNED, "trials"), (front, BEST, "trade-offs")):
        axes.scatter(
            [trial.values[0] for trial in part],
            [trial.values[1] for trial in part],
            s=26,
            color=colour,
            label=name,
        )
    for trial in front:
        axes.annotate(
            str(trial.number),
            (trial.values[0], trial.values[1]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel(f"{objectives[0].name} ({objectives[0].mode})")
    axes.set_ylabel(f"{objectives[1].name} ({objectives[1].mode})")
    axes.legend(frameon=False)
    return figure


class _Scale:
    """Where the values of one key lie on an axis from 0 to 1."""

    def __init__(self, trials: Sequence[FrozenTrial], key: str) -> None:
        self.key = key
        having = [trial for trial in trials if key in trial.params]
        distribution = having[0].distributions[key]
        choices = getattr(distribution, "choices", None)
        self.names = [str(choice) for choice in choices] if choices is not None else []
        self.log = bool(getattr(distribution, "log", False))
        self.low = 0.0 if self.names else float(distribution.low)  # type: ignore[attr-defined]
        self.high = (
            float(max(len(self.names) - 1, 1)) if self.names else float(distribution.high)  # type: ignore[attr-defined]
        )

    def number(self, trial: FrozenTrial) -> float:
        """A value as a number; a choice as its place."""
        value = trial.params[self.key]
        return float(self.names.index(str(value)) if self.names else value)

    def height(self, trial: FrozenTrial) -> float | None:
        """Where a trial lies; None if the key did not count for it."""
        return self._share(self.number(trial)) if self.key in trial.params else None

    def ticks(self) -> list[tuple[float, str]]:
        """Heights with their names."""
        if self.names:
            return [(self._share(float(n)), _short(name)) for n, name in enumerate(self.names)]
        return [(0.0, f"{self.low:g}"), (1.0, f"{self.high:g}")]

    def _share(self, number: float) -> float:
        import math

        turn: Callable[[float], float] = math.log if self.log else float
        low, high = turn(self.low), turn(self.high)
        return (turn(number) - low) / (high - low) if high > low else 0.5


def _keys(trials: Sequence[FrozenTrial]) -> list[str]:
    return list(dict.fromkeys(key for trial in trials for key in trial.params))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _label(axes: Axes, place: float, height: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
    axes.text(place + 0.04, height, text, fontsize=8, va="center", bbox=box)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(text: str, most: int = _LONGEST_NAME) -> str:
    return text if len(text) <= most else "…" + text[-most + 1 :]
