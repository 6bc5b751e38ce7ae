"""The base of every score: sums that are added over batches and processes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

# Fractions are summed as whole numbers of this unit. A sum of whole numbers is the same in any
# order, so shards merge to the last bit, and every device can hold it. A score is off by less than
# 1e-9 of its 100, and a hundred million examples fit into int64.
UNITS = 2**36


class Score(Metric):
    """A metric whose states are all sums of int64, so that it reduces over processes by adding.

    Without any example every figure is 0: a process may have had no batch of an evaluation.
    """

    full_state_update = False
    is_differentiable = False

    def add_sum(self, name: str, *shape: int) -> None:
        """Add a state of zeros that sums over processes."""
        self.add_state(name, default=torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def figures(self, values: dict[str, float]) -> dict[str, Tensor]:
        """The result of `compute`, on the device of the states."""
        # Apple's GPUs have no float64.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {
            name: torch.tensor(value, dtype=dtype, device=self.device)
            for name, value in values.items()
        }

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # Being asked for a score before any example has come is no mistake here, see above.
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(compute)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                return wrapped(*args, **kwargs)

        return quiet


def to_units(fraction: float) -> int:
    """A fraction in [0, 1] as a whole number of units."""
    return round(fraction * UNITS)


def percent(units: int, count: int) -> float:
    """The mean of `count` fractions that sum to `units`, on the scale 0 to 100; 0 of none."""
    return 100.0 * units / UNITS / count if count else 0.0


def check_texts(predictions: list[str], references: list[list[str]]) -> None:
    """Hold what every text metric's `update` is given: one list of references a prediction."""
    assert not isinstance(predictions, str), "predictions must be a list of texts"
    assert len(predictions) == len(references), "each prediction needs its list of references"
    assert not any(isinstance(texts, str) for texts in references), "references come in lists"
