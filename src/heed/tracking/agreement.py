"""Whether the numbers of two runs are the same: bit for bit, within a tolerance, or not."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from heed.tracking.folder import METRICS, TEST_PREDICTIONS
from heed.tracking.saved_run import (
    SavedRun,
    read_test_predictions,
)

Verdict = Literal["bit for bit", "within tolerance", "differs", "not compared"]
_WORST_FIRST: tuple[Verdict, ...] = ("differs", "within tolerance", "bit for bit", "not compared")
# What a clock says is never the same twice.
CLOCK_COLUMNS = ("train/tokens_per_second", "train/step_seconds", "train/data_wait_share")


class Agreement(NamedTuple):
    """How one thing in two runs compares.

    Attributes:
        name: The metric, or "curves", "weights", "predictions".
        verdict: The result.
        one: The value in the first run; None for what is no single number.
        other: The value in the second.
        detail: What was compared, and where the first difference is.
        distance: The largest difference of two numbers; infinite where they cannot be subtracted.
    """

    name: str
    verdict: Verdict
    one: float | None = None
    other: float | None = None
    detail: str = ""
    distance: float = 0.0


def overall(agreements: Iterable[Agreement]) -> Verdict:
    """The worst of some verdicts; "not compared" if there is nothing else."""
    found = {agreement.verdict for agreement in agreements}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "not compared")


def verdict_of(distance: float, tolerance: float) -> Verdict:
    """What a difference between two numbers comes to."""
    if distance == 0.0:
        return "bit for bit"
    return "within tolerance" if distance <= tolerance else "differs"


def distance_of(one: Any, other: Any) -> float:
    """How far two numbers are apart; 0 for two that are no numbers in the same way (nan)."""
    first, second = number(one), number(other)
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    distance = abs(first - second)
    return math.inf if math.isnan(distance) else distance


def number(value: Any) -> float | None:
    """A number of a record or a CSV file, where "nan" is text; None for anything else."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def compare_metrics(one: SavedRun, other: SavedRun, tolerance: float) -> list[Agreement]:
    """Each metric of the records: the last training loss, the best validation's, the test's."""
    metrics = one.fields["metrics"], other.fields["metrics"]
    agreements = []
    for name in dict.fromkeys([*metrics[0], *metrics[1]]):
        first, second = (number(values.get(name)) for values in metrics)
        if first is None or second is None:
            missing = "recorded" if first is None else "made again"
            agreements.append(Agreement(name, "differs", first, second, f"not {missing}", math.inf))
            continue
        distance = distance_of(first, second)
        verdict = verdict_of(distance, tolerance)
        agreements.append(Agreement(name, verdict, first, second, distance=distance))
    return agreements


def compare_curves(one: SavedRun, other: SavedRun, tolerance: float) -> Agreement:
    """Every logged number at every step that the first run logged, but for what a clock says.

    A first run that was not finished is compared as far as it came.
    """
    first, second = (read_curves(run.folder / METRICS) for run in (one, other))
    if not first or not second:
        lacking = one if not first else other
        return Agreement("curves", "not compared", detail=f"{lacking.folder} has no {METRICS}")
    largest, equal, where = 0.0, 0, ""
    for place, value in first.items():
        distance = distance_of(value, second.get(place))
        equal += distance == 0.0
        largest = max(largest, distance)
        if distance > 0.0 and not where:
            step, name = place
            where = f"first at step {step}: {name} {value} / {second.get(place, 'nothing')}"
    extra = [] if one.fields["status"] != "done" else [p for p in second if p not in first]
    if extra and not where:
        where = f"step {extra[0][0]} has {extra[0][1]} in the second only"
    verdict = verdict_of(math.inf if extra else largest, tolerance)
    detail = f"{equal:,} of {len(first):,} logged numbers the same"
    return Agreement("curves", verdict, detail=_joined(detail, where), distance=largest)


def read_curves(path: Path) -> dict[tuple[int, str], str]:
    """(step, metric) -> the number as logged; empty where there is no file."""
    from heed.tracking.csv_logger import read_metrics

    if not path.is_file():
        return {}
    return {
        (int(row["step"]), name): value
        for row in read_metrics(path)
        if (row.get("step") or "").isdigit()  # else a line that was cut short
        for name, value in row.items()
        if name not in (*CLOCK_COLUMNS, "step", None) and value
    }


def compare_predictions(one: SavedRun, other: SavedRun, tolerance: float) -> Agreement:
    """The predictions of the test split, and the probabilities that came with them."""
    for run in (one, other):
        path = run.folder / TEST_PREDICTIONS
        if not path.is_file():
            return Agreement("predictions", "not compared", detail=f"{path} is missing")
    lists = [list(map(_without_references, read_test_predictions(run))) for run in (one, other)]
    largest, equal, where = 0.0, 0, ""
    for first, second in itertools.zip_longest(*lists):
        distance = 0.0 if first == second else _prediction_distance(first, second)
        equal += first == second
        largest = max(largest, distance)
        if first != second and not where:
            where = f"first {_short(first)} / {_short(second)}"
    total = max(map(len, lists))
    detail = _joined(f"{equal:,} of {total:,} the same", where)
    return Agreement("predictions", verdict_of(largest, tolerance), None, None, detail, largest)


def _without_references(prediction: dict[str, Any]) -> dict[str, Any]:
    """What the model said; an older Heed kept no references beside it."""
    return {key: value for key, value in prediction.items() if key != "references"}


def _prediction_distance(one: Any, other: Any) -> float:
    """The largest difference of numbers in two predictions; infinite if anything else differs."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        return max((_prediction_distance(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(_prediction_distance, one, other), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return distance_of(one, other)
    return 0.0 if one == other else math.inf


def _short(prediction: Any, most: int = 80) -> str:
    text = "nothing" if prediction is None else json.dumps(prediction, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 3] + "..."


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
