"""The score of a single example: whether a label is right, how well an answer or a text fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Record = Mapping[str, Any]


class ExampleScorer(NamedTuple):
    """How predictions of one task are scored one by one.

    Attributes:
        name: The score's name.
        score: (prediction, record of the data) -> 0 to 100, more is better.
        reference: What was to be predicted, as text.
        given: What the model read, as text.
    """

    name: str
    score: Callable[[str, Record], float]
    reference: Callable[[Record], str]
    given: Callable[[Record], str]


def example_scorer(config: Mapping[str, Any]) -> ExampleScorer | None:
    """The scorer for a run's task, by the kind of its records; None for a kind of the user's own.

    Labels are right or wrong; answers have SQuAD's F1; texts have sentence chrF, or the F-score of
    ROUGE-L where the task is validated by ROUGE.
    """
    task = config.get("task") or {}
    kind, monitor = task.get("kind"), str(task.get("monitor", ""))
    if kind == "labelled_text":
        return ExampleScorer("accuracy", _right, lambda r: str(r["label"]), lambda r: r["text"])
    if kind == "passages":
        return ExampleScorer("F1", _answer_f1, _answers, lambda r: r["question"])
    if kind == "pairs":
        name, score = ("ROUGE-L", _rouge()) if "rouge" in monitor else ("chrF", _chrf())
        return ExampleScorer(name, score, lambda r: r["references"][0], lambda r: r["source"])
    return None


def _right(prediction: str, record: Record) -> float:
    return 100.0 * (prediction == record["label"])


def _answer_f1(prediction: str, record: Record) -> float:
    from heed.metrics.squad import f1

    return 100.0 * f1(prediction, list(record["answers"]))


def _answers(record: Record) -> str:
    return " | ".join(dict.fromkeys(record["answers"])) or "(no answer)"


def _chrf() -> Callable[[str, Record], float]:
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF()
    return lambda prediction, record: float(
        scorer.sentence_score(prediction, list(record["references"])).score
    )


def _rouge() -> Callable[[str, Record], float]:
    from heed.metrics.rouge import Rouge

    scorer = Rouge()
    return lambda prediction, record: (
        100.0
        * max(
            scores["rougeL"]
            for scores in scorer.example_scores(prediction, list(record["references"]))
        )
    )
