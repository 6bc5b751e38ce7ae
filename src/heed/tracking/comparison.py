"""Systems side by side: means over seeds, intervals, and tests of significance on predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heed.errors import UserError
from heed.tracking.digest import Digest
from heed.tracking.example_statistics import (
    TESTED,
    ExampleStatistics,
    Outputs,
    difference_of_examples,
    read_outputs,
    statistics_of,
)
from heed.tracking.grouping import Group, group_runs, pooled_keys
from heed.tracking.run_filters import STAGES
from heed.tracking.seed_statistics import Spread, spread
from heed.tracking.significance import SAMPLES, p_value

SAME = -1.0  # in the place of a p-value: the outputs score alike, example by example
PROGRESS_METRICS = ("loss", "perplexity")  # shown only where they are asked for
_CLOSE = 1e-6


@dataclass(frozen=True)
class PairedTest:
    """How differences are tested.

    Attributes:
        test: "bootstrap", "randomization" or "none".
        samples: How many samples; 0 takes as many as sacrebleu does.
        seed: Of the random numbers.
    """

    test: str
    samples: int
    seed: int

    def sentence(self) -> str:
        """What a reader of the table must know."""
        names = {
            "bootstrap": "paired bootstrap",
            "randomization": "paired approximate randomization",
        }
        count = self.samples or SAMPLES[self.test]
        return f"{names[self.test]}, {count:,} samples, seed {self.seed}"


@dataclass
class Comparison:
    """Groups of runs and their figures.

    Attributes:
        groups: The systems; the first is the baseline.
        metrics: Names of scores, such as "test/bleu".
        spreads: Of each group, by metric; a group has no entry for a score it lacks.
        p_values: Of each group against the first, by metric; `SAME` where all examples score alike.
        notes: What a reader must know, a sentence each.
    """

    groups: list[Group]
    metrics: list[str]
    confidence: float
    spreads: list[dict[str, Spread]]
    p_values: list[dict[str, float]]
    notes: list[str] = field(default_factory=list)

    def higher_is_better(self, metric: str) -> bool:
        """Whether a larger value of a metric is better."""
        return self.groups[0].runs[0].higher_is_better(metric)

    def best(self, metric: str) -> set[int]:
        """The numbers of the groups whose mean is best; several if they are equal."""
        means = {n: s[metric].mean for n, s in enumerate(self.spreads) if metric in s}
        if len(means) < 2:
            return set()
        top = (max if self.higher_is_better(metric) else min)(means.values())
        return {number for number, mean in means.items() if mean == top}


def compare(
    runs: Sequence[Digest],
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    confidence: float = 0.95,
    testing: PairedTest | None = None,
) -> Comparison:
    """Compare some runs.

    Args:
        runs: The runs, at least one; the group of the first is the baseline.
        by: Keys that make groups; see `group_runs`.
        metrics: Scores, with their stage or without; the test scores when empty.
        confidence: Of the intervals.
        testing: How differences are tested; None does not.

    Raises:
        UserError: If a metric is not among the scores of any run.
    """
    groups = group_runs(runs, by)
    names = [full_name(metric, runs) for metric in metrics] or usual_metrics(runs)
    spreads = []
    for group in groups:
        found = {name: [r.metrics[name] for r in group.runs if name in r.metrics] for name in names}
        spreads.append(
            {name: spread(values, confidence) for name, values in found.items() if values}
        )
    made = Comparison(groups, names, confidence, spreads, [{} for _ in groups])
    made.notes += _notes_on_groups(groups, by)
    if testing is not None and testing.test != "none" and len(groups) > 1:
        _test(made, testing)
    return made


def full_name(metric: str, runs: Sequence[Digest]) -> str:
    """The score that a metric means: itself, or that of the test, or else of the validation.

    Raises:
        UserError: If no run has it.
    """
    known = dict.fromkeys(name for run in runs for name in run.metrics)
    for name in (metric, *(stage + metric for stage in STAGES)):
        if name in known:
            return name
    shown = ", ".join(known) or "nothing"
    raise UserError(
        f"metric={metric} is a score of none of the {len(runs)} runs", f"there is {shown}"
    )


def usual_metrics(runs: Sequence[Digest]) -> list[str]:
    """The test scores of some runs, or those of the validation, the monitored one first."""
    known = dict.fromkeys(name for run in runs for name in run.metrics)
    for stage in ("test/", "val/"):
        plain = [name for name in known if name.startswith(stage)]
        found = [name for name in plain if name.removeprefix(stage) not in PROGRESS_METRICS]
        if found or plain:
            watched = {run.monitor.rpartition("/")[2] for run in runs}
            return sorted(found or plain, key=lambda name: name.removeprefix(stage) not in watched)
    return list(known)


def _notes_on_groups(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
    notes = []
    data = {run.test_data for group in groups for run in group.runs if run.test_data}
    if len(data) > 1:
        notes.append(f"the runs have {len(data)} different test sets, so their scores say little")
    for group in groups:
        seeds = group.seeds
        if len(set(seeds)) < len(seeds):
            notes.append(
                f"{group.label}: several runs have the same seed, so its spread may be too small"
            )
        if by and (pooled := pooled_keys(group)):
            notes.append(f"{group.label}: its runs differ in {', '.join(pooled)} as well")
    return notes


def _test(made: Comparison, testing: PairedTest) -> None:
    """Fill in the p-values, and the notes on what could not be tested."""
    wanted = [name for name in made.metrics if name.startswith("test/")]
    wanted = [name for name in wanted if name.removeprefix("test/") in TESTED]
    if not wanted:
        made.notes.append(
            "no test of significance: it needs a test score that is a sum over examples"
        )
        return
    outputs: list[list[Outputs]] = []
    for group in made.groups:
        try:
            outputs.append([read_outputs(run.path) for run in group.runs])
            unlike = [difference_of_examples(outputs[0][0], one) for one in outputs[-1]]
            if any(unlike):
                outputs[-1] = []
                words = next(filter(None, unlike))
                made.notes.append(f"{group.label}: not tested, since the examples differ ({words})")
        except UserError as fault:
            outputs.append([])
            made.notes.append(f"{group.label}: not tested, since {fault}")
        if not outputs[0]:
            return
    made.notes.append(f"p: against {made.groups[0].label}, {testing.sentence()}")
    for metric in wanted:
        _test_metric(made, metric, outputs, testing)


def _test_metric(
    made: Comparison, metric: str, outputs: Sequence[Sequence[Outputs]], testing: PairedTest
) -> None:
    pooled = [
        _pooled(made, group, metric, one) for group, one in zip(made.groups, outputs, strict=True)
    ]
    baseline = pooled[0]
    for number, system in enumerate(pooled[1:], start=1):
        if baseline is None or system is None or baseline.values.shape != system.values.shape:
            continue
        made.p_values[number][metric] = (
            SAME
            if np.array_equal(baseline.values, system.values)
            else p_value(
                testing.test,
                baseline.values,
                system.values,
                baseline.scorer,
                samples=testing.samples,
                seed=testing.seed,
                as_sacrebleu=baseline.as_sacrebleu,
            )
        )


def _pooled(
    made: Comparison, group: Group, metric: str, outputs: Sequence[Outputs]
) -> ExampleStatistics | None:
    """The statistics of a system, the mean over its runs; None if there are none to be trusted."""
    name = metric.removeprefix("test/")
    found = []
    for run, output in zip(group.runs, outputs, strict=False):
        one = statistics_of(name, output, run.config)
        if one is None or metric not in run.metrics:
            return None
        score, recorded = float(one.scorer(one.values.sum(0)[None])[0]), run.metrics[metric]
        if abs(score - recorded) > _CLOSE * max(1.0, abs(recorded)):
            made.notes.append(
                f"{group.label}: {name} not tested, since the predictions of {run.path.name} give "
                f"{score:.4f} and its record says {recorded:.4f}"
            )
            return None
        found.append(one)
    if len(found) < 2:
        return found[0] if found else None
    mean = np.mean([one.values for one in found], axis=0)
    return found[0]._replace(values=mean)


def cost_of(group: Group, name: str) -> float | None:
    """The mean of a cost (`training_seconds`, `tokens`) over a group's runs."""
    values: list[Any] = [getattr(run, name) for run in group.runs]
    known = [float(value) for value in values if value]
    return sum(known) / len(known) if known else None
