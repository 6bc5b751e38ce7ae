"""What has become of trials: which count, which are lost, which are best."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from heed.sweeps.objective import Objective

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts against `n_trials`: all but those that are run again."""
    return not is_lost(trial)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial's process has gone without a word."""
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def best_trials(
    trials: Sequence[FrozenTrial], objectives: Sequence[Objective]
) -> list[FrozenTrial]:
    """The best complete trial, the first of equals; of several objectives the Pareto front."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not done:
        return []
    if len(objectives) == 1:
        sign = -1.0 if objectives[0].mode == "max" else 1.0
        return [min(done, key=lambda trial: sign * trial.values[0])]
    return [trial for trial in done if not any(_dominates(o, trial, objectives) for o in done)]


def stale_trials(trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> int:
    """How many trials have ended since the last one that was better than all before it."""
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    ended.sort(key=lambda trial: trial.datetime_complete or datetime.max)
    best = best_trials(ended, objectives)
    if not best:
        return 0
    last = max(ended.index(trial) for trial in best)
    return len(ended) - 1 - last


def _dominates(one: FrozenTrial, other: FrozenTrial, objectives: Sequence[Objective]) -> bool:
    pairs = list(zip(objectives, one.values, other.values, strict=True))
    worse = any(objective.better(theirs, ours) for objective, ours, theirs in pairs)
    return not worse and any(objective.better(ours, theirs) for objective, ours, theirs in pairs)
