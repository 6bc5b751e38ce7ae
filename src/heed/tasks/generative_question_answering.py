"""Generative question answering: the answer is written, not pointed at (Raffel et al., 2020)."""

from __future__ import annotations

from typing import Any

from torch import nn

from heed.data.pairs import PairPreparation
from heed.data.records import PASSAGES
from heed.metrics.squad import SquadScore
from heed.tasks.base import Prediction
from heed.tasks.generation import GenerationTask


def question_and_passage(question: str, context: str) -> str:
    """The text that a passage and its question are read as."""
    return f"question: {question} context: {context}"


class QuestionPairPreparation(PairPreparation):
    """Passages as pairs: the question and its passage in, the first answer out.

    Args: those of `PairPreparation`.
    """

    kind = PASSAGES

    def texts(self, record: dict[str, Any]) -> list[str]:
        return [question_and_passage(record["question"], record["context"]), *record["answers"][:1]]

    def encode(
        self, records: dict[str, list[Any]], indices: list[int], *, training: bool
    ) -> dict[str, list[Any]]:
        questions, contexts = records["question"], records["context"]
        pairs: dict[str, list[Any]] = {
            "source": [question_and_passage(*pair) for pair in zip(questions, contexts, strict=True)]
        }
        if "answers" in records:
            pairs["target"] = [answers[0] if answers else "" for answers in records["answers"]]
        return super().encode(pairs, indices, training=training)


class GenerativeQuestionAnswering(GenerationTask):
    """Writes the answer; scored by exact match and F1 as extractive answers are."""

    def new_scores(self) -> nn.Module:
        return SquadScore()

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        scores.update([p["prediction"] for p in predictions], [r["answers"] for r in records])

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "question": record["question"],
            "prediction": prediction["prediction"],
            "reference": " | ".join(dict.fromkeys(record["answers"])) or "(no answer)",
        }
