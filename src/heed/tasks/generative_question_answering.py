"""Generative question answering: the answer is written, not pointed at (Raffel et al., 2020)."""

from __future__ import annotations

from typing import Any

from torch import nn

from heed.metrics.squad import SquadScore
from heed.tasks.base import Prediction
from heed.tasks.generation import GenerationTask


class GenerativeQuestionAnswering(GenerationTask):
    """Writes the answer; scored by exact match and F1 as extractive answers are."""

    def new_scores(self) -> nn.Module:
        return SquadScore()

    def references(self, record: dict[str, Any]) -> list[str]:
        return list(record["answers"])

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "question": record["question"],
            "prediction": prediction["prediction"],
            "reference": " | ".join(dict.fromkeys(record["answers"])) or "(no answer)",
        }
