"""Several scores fed with the same outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from heed.metrics.score import Score


class Together(nn.Module):
    """Updates, computes and resets several scores as one.

    Args:
        scores: Their figures must have different names.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        super().__init__()
        self.scores = nn.ModuleList(scores)

    def update(self, *outputs: Any) -> None:
        """Feed every score."""
        for score in self.scores:
            score.update(*outputs)  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """The figures of all, by name."""
        return {name: value for score in self.scores for name, value in score.compute().items()}  # type: ignore[operator]

    def reset(self) -> None:
        """Forget everything."""
        for score in self.scores:
            score.reset()  # type: ignore[operator]

    @property
    def signatures(self) -> dict[str, str]:
        """How each score that has one was computed, for instance sacreBLEU's signature."""
        return {
            type(score).__name__.lower(): str(score.signature)
            for score in self.scores
            if hasattr(score, "signature")
        }
