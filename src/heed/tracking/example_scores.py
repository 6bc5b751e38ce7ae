"""The score of a single example: whether a label is right, how well an answer or a text fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Record = Mapping[str, Any]
Score = Callable[[str, list[str]], float]


class ExampleScorer(NamedTuple):
    """How predictions of one task are scored one by one.

    Attributes:
        name: The score's name.
        score: (prediction, all that is right) -> 0 to 100, more is better.
        references: What is right, of a record of the data.
        given: What the model read, of a record of the data.
    """

    name: str
    score: Score
    references: Callable[[Record], list[str]]
    given: Callable[[Record], str]


def example_scorer(config: Mapping[str, Any]) -> ExampleScorer | None:
    """The scorer for a run's task, by the kind of its records; None for a kind of the user's own.

    Labels are right or wrong; answers have SQuAD's F1; texts have sentence chrF, or the F-score of
    ROUGE-L where the task is validated by ROUGE.
    """
    task = config.get("task") or {}
    kind, monitor = task.get("kind"), str(task.get("monitor", ""))
    if kind == "labelled_text":
        return ExampleScorer("accuracy", _right, lambda r: [r["label"]], lambda r: r["text"])
    if kind == "passages":
        return ExampleScorer("F1", _answer_f1, lambda r: r["answers"], lambda r: r["question"])
    if kind == "pairs":
        name, score = ("ROUGE-L", _rouge()) if "rouge" in monitor else ("chrF", _chrf())
        return ExampleScorer(name, score, lambda r: r["references"], lambda r: r["source"])
    return None


def _right(prediction: str, references: list[str]) -> float:
    return 100.0 * (prediction in references)


def _answer_f1(prediction: str, references: list[str]) -> float:
    from heed.metrics.squad import f1

    return 100.0 * f1(prediction, references)


def _chrf() -> Score:
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF()
    return lambda prediction, references: float(scorer.sentence_score(prediction, references).score)


def _rouge() -> Score:
    from heed.metrics.rouge import Rouge

    scorer = Rouge()
    return lambda prediction, references: (
        100.0 * max(one["rougeL"] for one in scorer.example_scores(prediction, references))
    )
