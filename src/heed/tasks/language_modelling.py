"""What masked and causal language modelling share: a text is its own label."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from heed.metrics.tokens import TokenScore
from heed.tasks.base import Prediction, Task


class LanguageModelling(Task):
    """Counts and scores what was told of each text.

    A prediction in evaluation has `"tokens"`, how many were asked for; `"right"`, how many of these
    were told; and the `"log_probability"` of all of them.

    Attributes:
        of_bytes: Whether all of a text is told; see `TokenScore`.
    """

    of_bytes: bool

    def new_scores(self) -> nn.Module:
        return TokenScore(of_bytes=self.of_bytes)

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        scores.update(
            [p["tokens"] for p in predictions],
            [p["right"] for p in predictions],
            [p["log_probability"] for p in predictions],
            [r["text"] for r in records],
        )

    def references(self, record: dict[str, Any]) -> list[str]:
        return [record["text"]]

    def derived_scores(self, loss: float) -> dict[str, float]:
        """Perplexity: e to the mean loss of a token."""
        return {"perplexity": math.exp(min(loss, 50.0))}


def rows_of(indices: list[int]) -> list[list[int]]:
    """The rows of each example, by its first row."""
    found: dict[int, list[int]] = {}
    for row, index in enumerate(indices):
        found.setdefault(index, []).append(row)
    return list(found.values())


def joined(values: Iterable[Any]) -> Any:
    """The sum of numbers, or lists one after another."""
    first, *rest = values
    for value in rest:
        first = first + value
    return first
