"""The settings of a search: the node `sweep` of the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from heed.errors import UserError, nearest, raise_together
from heed.sweeps.named import pruner_faults, sampler_faults
from heed.sweeps.objective import Objective, read_objectives

LEFT_OUT = ("params", "when", "objectives", "modes")  # read by others


@dataclass(frozen=True)
class Settings:
    """How a search is made; see configs/sweep/optuna.yaml for each key.

    Raises:
        UserError: From `read`, with every mistake found.
    """

    study_name: str
    objectives: list[Objective]
    storage: str | None = None
    sampler: str = "tpe"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    pruner: str | None = None
    pruner_options: dict[str, Any] = field(default_factory=dict)
    rung_tokens: int | None = None
    seeds: list[int] | None = None
    n_trials: int | None = None
    timeout: float | None = None  # hours
    patience: int | None = None
    jobs: int = 1
    trial_timeout: float | None = None  # hours
    max_failures: int = 5
    test: bool = False
    seed: int = 42

    @classmethod
    def read(cls, node: Mapping[str, Any], *, monitor: str, mode: str, seed: int) -> Settings:
        """The settings of a frozen config's node."""
        known = {one.name for one in fields(cls)} - {"seed"} | set(LEFT_OUT)
        faults = [
            UserError(f"sweep.{key} is not a key of the config", nearest(key, known))
            for key in node
            if key not in known
        ]
        faults += [
            UserError(f"sweep.{key} must be {kind}, but is {node[key]!r}")
            for key, kind in _KINDS.items()
            if key in node and not _is(node[key], kind)
        ]
        raise_together(faults)
        objectives = read_objectives(
            node.get("objectives"), node.get("modes"), monitor=monitor, mode=mode
        )
        given = {key: value for key, value in node.items() if key not in LEFT_OUT}
        settings = cls(**{**given, "objectives": objectives, "seed": seed})
        raise_together(list(settings.faults()))
        return settings

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def prunes_runs(self) -> bool:
        """Whether a run may be stopped by its own validation scores."""
        return self.pruner not in (None, "wilcoxon") and not self.several

    def faults(self) -> Iterator[UserError]:
        """What is wrong between settings."""
        name = self.study_name
        if not name or name in (".", "..") or "/" in name:
            yield UserError(
                f"sweep.study_name must be a plain folder name, but is {name!r}",
                "try sweep.study_name=learning_rate",
            )
        n_objectives = len(self.objectives)
        yield from sampler_faults(self.sampler, self.sampler_options, n_objectives)
        yield from pruner_faults(self.pruner, self.pruner_options)
        if self.pruner == "wilcoxon" and len(self.seeds or []) < 2:
            yield UserError(
                "sweep.pruner=wilcoxon compares trials seed by seed, but sweep.seeds is "
                f"{self.seeds if self.seeds is not None else 'null'}",
                "give several, such as sweep.seeds=[1,2,3,4,5]",
            )
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            yield UserError(
                f"sweep.seeds must be different numbers, but is {self.seeds}", "try [1,2,3]"
            )
        bounds = (self.n_trials, self.timeout, self.patience)
        if bounds == (None, None, None) and self.sampler != "grid":
            yield UserError(
                "a search must end, but sweep.n_trials, sweep.timeout and sweep.patience are all "
                "null",
                "try sweep.n_trials=20",
            )


_KINDS = {
    "study_name": "text",
    "storage": "text or null",
    "sampler": "text",
    "sampler_options": "a mapping",
    "pruner": "text or null",
    "pruner_options": "a mapping",
    "rung_tokens": "a whole number of at least 1 or null",
    "seeds": "a list of whole numbers or null",
    "n_trials": "a whole number of at least 1 or null",
    "timeout": "a number above 0 or null",
    "patience": "a whole number of at least 1 or null",
    "jobs": "a whole number of at least 1",
    "trial_timeout": "a number above 0 or null",
    "max_failures": "a whole number of at least 1",
    "test": "true or false",
    "objectives": "a list of text or null",
    "modes": "a list of text or null",
    "params": "a mapping",
    "when": "a mapping",
}


def _is(value: Any, kind: str) -> bool:
    base = kind.removesuffix(" or null")
    if value is None:
        return base != kind
    if base == "text":
        return isinstance(value, str)
    if base == "a mapping":
        return isinstance(value, dict)
    if base == "true or false":
        return isinstance(value, bool)
    if base == "a list of text":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if base == "a list of whole numbers":
        return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)
    if base == "a number above 0":
        return type(value) in (int, float) and value > 0
    assert base.startswith("a whole number"), base
    return type(value) is int and value >= 1
