"""Exact match and F1 of answers (Rajpurkar et al. 2016 and 2018), by the rules of SQuAD's scripts.

The scripts of SQuAD 1.1 and 2.0 differ only where a text normalises to nothing ("." or "the"): 2.0
passes over such answers, and gives credit for an empty prediction where there is no answer.
"""

from __future__ import annotations

import re
import string
from collections import Counter

import torch
from torch import Tensor

from heed.metrics.score import Score, check_texts, percent, to_units

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """Lower case, without punctuation, without articles, with single spaces, in that order."""
    bare = answer.lower().translate(NO_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, answers: list[str]) -> float:
    """1 if the prediction is one of the answers up to normalisation, else 0; by 2.0's script.

    Args:
        prediction: The answer given; empty says that there is none.
        answers: All right answers; none when the question is unanswerable.
    """
    return _exact_match(prediction, _accepted(answers))


def f1(prediction: str, answers: list[str]) -> float:
    """The best F1 of the bags of normalised words over the answers, 0 to 1; by 2.0's script.

    Args:
        prediction: The answer given; empty says that there is none.
        answers: All right answers; none when the question is unanswerable.
    """
    if not normalise(prediction):
        return exact_match(prediction, answers)
    return _f1(prediction, _accepted(answers))


def example_scores(
    predictions: list[str], references: list[list[str]]
) -> list[tuple[float, float]]:
    """Exact match and F1 of each example, 0 to 1, whose means are the scores of `SquadScore`."""
    if all(references):  # the script of SQuAD 1.1
        return [
            (_exact_match(prediction, answers), _f1(prediction, answers))
            for prediction, answers in zip(predictions, references, strict=True)
        ]
    return [
        (exact_match(prediction, answers), f1(prediction, answers))
        for prediction, answers in zip(predictions, references, strict=True)
    ]


def _accepted(answers: list[str]) -> list[str]:
    return [answer for answer in answers if normalise(answer)] or [""]


def _exact_match(prediction: str, answers: list[str]) -> float:
    predicted = normalise(prediction)
    return float(any(predicted == normalise(answer) for answer in answers))


def _f1(prediction: str, answers: list[str]) -> float:
    predicted = Counter(normalise(prediction).split())
    return max(_bag_f1(predicted, Counter(normalise(answer).split())) for answer in answers)


def _bag_f1(predicted: Counter[str], wanted: Counter[str]) -> float:
    common = (predicted & wanted).total()
    if common == 0:
        return 0.0
    precision, recall = common / predicted.total(), common / wanted.total()
    return 2 * precision * recall / (precision + recall)


class SquadScore(Score):
    """The keys "exact_match" and "f1" over questions, 0 to 100.

    They follow the script of SQuAD 2.0 when any question is unanswerable, else that of 1.1. When
    any is, "answerable_exact_match", "answerable_f1" and "unanswerable_exact_match" (which is its
    F1 too) tell the two kinds apart.
    """

    higher_is_better = True
    answerable: Tensor
    unanswerable: Tensor
    first_version: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Questions, and units of exact match and F1, of each kind.
        self.add_sum("answerable", 3)
        self.add_sum("unanswerable", 3)
        # The same of the answerable questions by the script of 1.1.
        self.add_sum("first_version", 3)

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add questions.

        Args:
            predictions: Answers; the empty text says that there is none.
            references: All right answers of each question; none when it is unanswerable.
        """
        check_texts(predictions, references)
        answerable, unanswerable, first_version = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        for prediction, answers in zip(predictions, references, strict=True):
            kind = answerable if answers else unanswerable
            _tally(kind, exact_match(prediction, answers), f1(prediction, answers))
            if answers:
                _tally(first_version, _exact_match(prediction, answers), _f1(prediction, answers))
        self.answerable += torch.tensor(answerable, device=self.device)
        self.unanswerable += torch.tensor(unanswerable, device=self.device)
        self.first_version += torch.tensor(first_version, device=self.device)

    def compute(self) -> dict[str, Tensor]:
        """The means, by name."""
        answerable, unanswerable = self.answerable.tolist(), self.unanswerable.tolist()
        if not unanswerable[0]:
            count, exact, overlap = self.first_version.tolist()
            return self.figures(
                {"exact_match": percent(exact, count), "f1": percent(overlap, count)}
            )
        count, exact, overlap = (a + b for a, b in zip(answerable, unanswerable, strict=True))
        return self.figures(
            {
                "exact_match": percent(exact, count),
                "f1": percent(overlap, count),
                "answerable_exact_match": percent(answerable[1], answerable[0]),
                "answerable_f1": percent(answerable[2], answerable[0]),
                "unanswerable_exact_match": percent(unanswerable[1], unanswerable[0]),
            }
        )


def _tally(sums: list[int], exact: float, overlap: float) -> None:
    sums[0] += 1
    sums[1] += to_units(exact)
    sums[2] += to_units(overlap)
