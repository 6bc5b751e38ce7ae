"""What examples add to a score sums to the score of training, for every metric that is tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf
from heed.metrics.classification import ClassificationScore
from heed.metrics.rouge import Rouge
from heed.metrics.squad import SquadScore
from heed.tracking.example_statistics import TESTED, Outputs, statistics_of

PREDICTIONS = ["the cat sat on a mat .", "A Dog runs home", "", "the red House is small and old"]
REFERENCES = [
    ["the cat sat on the mat."],
    ["a dog runs home", "the dog ran home"],
    ["nothing here"],
    ["A red house is old and small. It stands alone."],
]
SQUAD = [["on the mat", "cat sat on a mat"], ["runs"], ["home"], ["the red house"]]
LABELS = ["b", "a", "c", "b", "a", "a", "b"]
SAID = ["b", "a", "a", "b", "b", "a", "b"]


def outputs(predictions: list[str], references: list[list[str]]) -> Outputs:
    return Outputs(
        tuple(range(len(predictions))), tuple(predictions), tuple(map(tuple, references))
    )


def summed(metric: str, found: Outputs, **settings: Any) -> float:
    one = statistics_of(metric, found, {f"task.{key}": value for key, value in settings.items()})
    assert one is not None
    assert len(one.values) == len(found.indices)
    return float(one.scorer(one.values.sum(0)[None])[0])


def trained(score: Any, predictions: Any, references: Any) -> dict[str, float]:
    score.update(predictions, references)
    return {name: float(value) for name, value in score.compute().items()}


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["13a", "char"])
def test_bleu_and_chrf(lowercase: bool, tokenize: str) -> None:
    settings = {"lowercase": lowercase, "bleu_tokenize": tokenize}
    found = outputs(PREDICTIONS, REFERENCES)
    bleu = trained(Bleu(lowercase=lowercase, tokenize=tokenize), PREDICTIONS, REFERENCES)
    chrf = trained(Chrf(lowercase=lowercase), PREDICTIONS, REFERENCES)
    assert summed("bleu", found, **settings) == bleu["bleu"] > 0
    assert summed("chrf", found, **settings) == chrf["chrf"] > 0


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge(stemmer: bool) -> None:
    wanted = trained(Rouge(use_stemmer=stemmer), PREDICTIONS, REFERENCES)
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        found = summed(name, outputs(PREDICTIONS, REFERENCES), use_stemmer=stemmer)
        assert found == pytest.approx(wanted[name], abs=1e-8)
        assert found > 0


@pytest.mark.parametrize("unanswerable", [False, True])
def test_exact_match_and_f1(unanswerable: bool) -> None:
    references = [*SQUAD[:2], [], SQUAD[3]] if unanswerable else SQUAD
    wanted = trained(SquadScore(), PREDICTIONS, references)
    for name in ("exact_match", "f1"):
        assert summed(name, outputs(PREDICTIONS, references)) == pytest.approx(wanted[name])
    assert wanted["f1"] > wanted["exact_match"] > 0


def test_accuracy_and_macro_f1() -> None:
    classes = ["a", "b", "c", "d"]
    probabilities = torch.eye(4)[[classes.index(label) for label in SAID]]
    labels = torch.tensor([classes.index(label) for label in LABELS])
    wanted = trained(ClassificationScore(n_labels=4), probabilities, labels)
    found = outputs(SAID, [[label] for label in LABELS])
    for name in ("accuracy", "macro_f1"):
        assert summed(name, found) == pytest.approx(wanted[name])


def test_metrics_that_are_no_sums_have_no_statistics() -> None:
    found = outputs(SAID, [[label] for label in LABELS])
    assert statistics_of("calibration_error", found, {}) is None
    assert statistics_of("bleu", outputs(["x"], [[]]), {}) is None
    assert all(statistics_of(name, outputs([], []), {}) is None for name in TESTED)
