"""What a search makes best: one validation score, or several at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from heed.errors import UserError, nearest, raise_together

Mode = Literal["min", "max"]
SMALLER_IS_BETTER = ("loss", "perplexity", "bits_per", "error", "wer", "ter")


@dataclass(frozen=True)
class Objective:
    """A score, and whether it is better when larger ("max") or smaller ("min")."""

    name: str
    mode: Mode

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """In Optuna's terms."""
        return "maximize" if self.mode == "max" else "minimize"

    def better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return value > than if self.mode == "max" else value < than

    def __str__(self) -> str:
        return f"{self.name} ({self.mode})"


def read_objectives(
    names: Sequence[str] | None, modes: Sequence[str] | None, *, monitor: str, mode: str
) -> list[Objective]:
    """The objectives of `sweep.objectives` and `sweep.modes`; `task.monitor` if there are none.

    Raises:
        UserError: If one is no validation score, is named twice, or has another mode.
    """
    names = list(names or [monitor])
    faults = []
    for name in names:
        if not str(name).startswith("val/"):
            score = str(name).rpartition("/")[2]
            faults.append(
                UserError(
                    f"sweep.objectives must be validation scores (val/...), but has {name!r}",
                    f"try val/{score}",
                )
            )
    if len(set(names)) < len(names):
        faults.append(UserError(f"sweep.objectives must differ, but are {', '.join(names)}"))
    if modes is not None and (len(modes) != len(names) or set(modes) - {"min", "max"}):
        faults.append(
            UserError(
                f"sweep.modes must be min or max for each of sweep.objectives, but is {modes}",
                f"try sweep.modes=[{','.join(_usual(name) for name in names)}]",
            )
        )
    raise_together(faults)
    found: list[Objective] = []
    for index, name in enumerate(names):
        usual = mode if name == monitor else _usual(name)
        chosen = modes[index] if modes is not None else usual
        found.append(Objective(name, "min" if chosen == "min" else "max"))
    return found


def values_of(metrics: Mapping[str, Any], objectives: Sequence[Objective]) -> list[float]:
    """The values of the objectives in a run record's metrics.

    Raises:
        UserError: If validation has logged no such score.
        ValueError: If a score is not a finite number; its text says which.
    """
    found = []
    for objective in objectives:
        value = metrics.get(objective.name)
        if value is None:
            logged = sorted(name for name in metrics if name.startswith("val/"))
            raise UserError(
                f"sweep.objectives must be scores that validation logs, but {objective.name} is "
                "not logged",
                nearest(objective.name, logged) if logged else "this run has no validation",
            )
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"{objective.name} is {value}")
        found.append(number)
    return found


def _usual(name: str) -> Mode:
    small = any(word in name.rpartition("/")[2] for word in SMALLER_IS_BETTER)
    return "min" if small else "max"
