"""Whether two runs did the same, to the last bit, and where they first differ."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heed.commands.run_paths import is_checkpoint
from heed.tracking.agreement import CLOCK_COLUMNS, Agreement, verdict_of
from heed.tracking.folder import CHECKPOINTS, METRICS, TEST_PREDICTIONS
from heed.tracking.record import RunRecord

# What a clock says is never the same twice.
CLOCK_KEYS = ("seconds", "waited", "time_elapsed", "recent_rows")


class Difference(NamedTuple):
    """Where two runs differ.

    Attributes:
        file: The file, relative to the run folder.
        place: The line, row or entry in it.
        what: What stands there in one run and in the other.
    """

    file: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.what}"


def compare_runs(one: Path, other: Path, *, finished: bool = True) -> list[Difference]:
    """The first difference in each thing that two runs left; none if they did the same.

    Compared are the traces, the logged numbers, the last checkpoint (weights, averaged weights,
    optimizer, schedule, scaler, random generators, place in the data, callbacks) and, of finished
    runs, the best checkpoint and the predictions. What a clock says is left out.

    Args:
        one: A run folder.
        other: Another.
        finished: Whether both have come to their end.
    """
    found: list[Difference] = []
    traces = sorted(path.name for path in one.glob("trace-rank-*.jsonl"))
    for differences in (
        *(_in_lines(one / name, other / name) for name in traces),
        _in_metrics(one / METRICS, other / METRICS),
        _in_checkpoints(one, other, f"{CHECKPOINTS}/last.ckpt"),
        *(_in_finished(one, other) if finished else ()),
    ):
        found += itertools.islice(differences, 1)
    return found


def compared(run: Path) -> dict[str, int]:
    """What there is to compare in a run: batches, logged rows and tensors of a checkpoint."""
    from heed.tracking.csv_logger import read_metrics
    from heed.training.callbacks.trace import read_trace, trace_path
    from heed.training.checkpoint_io import load_checkpoint

    metrics = run / METRICS
    checkpoint = load_checkpoint(run / CHECKPOINTS / "last.ckpt")
    return {
        "batches": len(read_trace(trace_path(run, 0))),
        "logged rows": len(read_metrics(metrics)) if metrics.exists() else 0,
        "values": sum(1 for _ in _leaves(checkpoint)),
    }


def compare_weights(one: RunRecord, other: RunRecord, tolerance: float) -> Agreement:
    """Every tensor of the best checkpoints of two runs."""
    from heed.training.checkpoint_io import load_checkpoint

    states: list[dict[str, Any]] = []
    for record in (one, other):
        path = record.best_checkpoint
        if path is None or not is_checkpoint(path):
            said = f"{record.run_dir} keeps no best checkpoint"
            return Agreement("weights", "not compared", detail=said)
        states.append(load_checkpoint(path).get("state_dict") or {})
    first, second = states
    names = dict.fromkeys([*first, *second])
    equal, largest, where = 0, 0.0, ""
    for name in names:
        what = _unequal(first.get(name), second.get(name))
        equal += not what
        if what:
            where = where or f"; first {name}: {what}"
            largest = max(largest, _distance(first.get(name), second.get(name)))
    detail = f"{equal:,} of {len(names):,} tensors of the best checkpoint the same{where}"
    verdict = verdict_of(largest, tolerance)
    return Agreement("weights", verdict, detail=detail, distance=largest)


def _distance(one: Any, other: Any) -> float:
    """The largest difference of two tensors that are not the same."""
    import torch

    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return math.inf
    if one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point():
        return math.inf
    apart = (one.double() - other.double()).abs()
    apart = torch.where((one == other) | (one.isnan() & other.isnan()), 0.0, apart)
    return float(apart.nan_to_num(math.inf).max())


def _in_finished(one: Path, other: Path) -> list[Iterator[Difference]]:
    names = [
        sorted(p.name for p in (run / CHECKPOINTS).glob("step=*.ckpt")) for run in (one, other)
    ]
    checks: list[Iterator[Difference]] = []
    if names[0] != names[1]:
        checks.append(iter([Difference(CHECKPOINTS, "best", f"{names[0]} / {names[1]}")]))
    else:
        checks += [_in_checkpoints(one, other, f"{CHECKPOINTS}/{name}") for name in names[0]]
    if (one / TEST_PREDICTIONS).exists() or (other / TEST_PREDICTIONS).exists():
        checks.append(_in_lines(one / TEST_PREDICTIONS, other / TEST_PREDICTIONS))
    return checks


def _in_lines(one: Path, other: Path) -> Iterator[Difference]:
    """Differences of two files of JSON objects, line by line."""
    name = one.name
    for path in (one, other):
        if not path.exists():
            yield Difference(name, "file", f"{path} is missing")
            return
    texts = [path.read_text(encoding="utf-8").splitlines() for path in (one, other)]
    for number, (mine, theirs) in enumerate(itertools.zip_longest(*texts), start=1):
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            count = " / ".join(str(len(lines)) for lines in texts)
            yield Difference(name, f"line {number}", f"{count} lines")
            return
        first, second = json.loads(mine), json.loads(theirs)
        keys = [key for key in first if first[key] != second.get(key)]
        where = f"line {number}"
        if "step" in first:
            where += f" (step {first['step']}, epoch {first['epoch']}, batch {first['position']})"
        what = "; ".join(_pair(key, first[key], second.get(key)) for key in keys) or "other keys"
        yield Difference(name, where, what)


def _pair(key: str, one: Any, other: Any) -> str:
    try:
        one, other = float.fromhex(one), float.fromhex(other)
        return f"{key} {one!r} / {other!r}"
    except (TypeError, ValueError):
        return f"{key} {one} / {other}"


def _in_metrics(one: Path, other: Path) -> Iterator[Difference]:
    from heed.tracking.csv_logger import read_metrics

    if not one.exists() and not other.exists():
        return
    rows = [read_metrics(path) if path.exists() else [] for path in (one, other)]
    for number, (mine, theirs) in enumerate(itertools.zip_longest(*rows, fillvalue={}), start=1):
        for key in dict.fromkeys([*mine, *theirs]):
            if key not in CLOCK_COLUMNS and mine.get(key) != theirs.get(key):
                step = (mine or theirs)["step"]
                what = f"{key} {mine.get(key)} / {theirs.get(key)}"
                yield Difference(one.name, f"row {number} (step {step})", what)


def _in_checkpoints(one: Path, other: Path, name: str) -> Iterator[Difference]:
    from heed.training.checkpoint_io import load_checkpoint

    first, second = (dict(_leaves(load_checkpoint(run / name))) for run in (one, other))
    for place in dict.fromkeys([*first, *second]):
        if place not in first or place not in second:
            yield Difference(name, place, "in one only" if place in first else "in the other only")
            continue
        what = _unequal(first[place], second[place])
        if what:
            yield Difference(name, place, what)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor and plain value in a checkpoint by its place, without what a clock says."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in CLOCK_KEYS:
                yield from _leaves(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}[{number}]")
    else:
        yield place, value


def _unequal(one: Any, other: Any) -> str:
    """What sets two values apart; "" if nothing does."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            kinds = [f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (one, other)]
            return " / ".join(kinds)
        unlike = ~((one == other) | (one.isnan() & other.isnan()))
        if not unlike.any():
            return ""
        largest = float((one.double() - other.double()).abs().nan_to_num(math.inf).max())
        return f"{int(unlike.sum())} of {one.numel()} values differ, by up to {largest:.3g}"
    both_nan = isinstance(one, float) and isinstance(other, float) and one != one and other != other
    return "" if both_nan or (type(one) is type(other) and one == other) else f"{one} / {other}"
