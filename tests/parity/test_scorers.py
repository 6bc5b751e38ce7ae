"""The scores against the field's own scorers, on made-up texts with all that makes them differ:
case, punctuation, numbers, umlauts, several references, empty outputs."""

from __future__ import annotations

import random
import re
import string

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
)
from torchmetrics.text import SQuAD

from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf
from heed.metrics.classification import ClassificationScore
from heed.metrics.rouge import ROUGE_TYPES, Rouge, split_sentences
from heed.metrics.squad import SquadScore, exact_match, f1

WORDS = [
    *("the", "a", "an", "A", "The", "dogs", "dog", "running", "runs", "quickly", "generously"),
    *("generous", "conditional", "conditions", "über", "Straße", "ein", "Hund", "läuft", "naïve"),
    *("3.14", "1,000", "42%", "U.S.", "can't", "e-mail", "(perhaps)", "“quoted”"),
]
STOPS = [".", "!", "?", " .", "...", ",", ""]


def text(rng: random.Random, words: int) -> str:
    return " ".join(
        rng.choice(WORDS) + rng.choice(STOPS) * (rng.random() < 0.2) for _ in range(words)
    )


def corrupted(rng: random.Random, original: str) -> str:
    kept = [word for word in original.split() if rng.random() < 0.8]
    return " ".join(rng.choice(WORDS) if rng.random() < 0.15 else word for word in kept)


def corpus(seed: int, examples: int, references: tuple[int, ...]) -> tuple[list, list]:
    """Outputs, the first of them empty, and as many references as one of `references` each."""
    rng = random.Random(seed)
    originals = [text(rng, rng.randint(1, 23)) for _ in range(examples)]
    lists = [
        [original, *(corrupted(rng, original) for _ in range(rng.choice(references) - 1))]
        for original in originals
    ]
    predictions = ["", *(corrupted(rng, original) for original in originals[1:])]
    return predictions, lists


def updated(metric, predictions, references, batch_size=17):
    for first in range(0, len(predictions), batch_size):
        last = first + batch_size
        metric.update(predictions[first:last], references[first:last])
    return {name: float(value) for name, value in metric.compute().items()}


def columns(references: list[list[str]]) -> list[list[str | None]]:
    """As sacrebleu takes them: the i-th references of all examples."""
    width = max(map(len, references))
    return [[one[i] if i < len(one) else None for one in references] for i in range(width)]


@pytest.mark.parametrize("counts", [(1,), (3,), (1, 2, 4)])
@pytest.mark.parametrize(
    "options", [{}, {"lowercase": True}, {"tokenize": "intl"}, {"tokenize": "char"}]
)
def test_bleu_is_sacrebleus(counts, options):
    predictions, references = corpus(1, 103, counts)
    official = BLEU(**options)
    expected = official.corpus_score(predictions, columns(references)).score
    metric = Bleu(**options)
    assert updated(metric, predictions, references) == {"bleu": expected}
    assert 20 < expected < 95
    assert metric.signature == str(official.get_signature())
    assert f"nrefs:{counts[0] if len(counts) == 1 else 'var'}|" in metric.signature


def test_bleu_without_any_four_gram_is_smoothed_as_sacrebleu_does():
    predictions, references = ["dogs run", "a cat"], [["dogs run fast"], ["the cat"]]
    expected = BLEU().corpus_score(predictions, columns(references)).score
    assert updated(Bleu(), predictions, references) == {"bleu": expected}


@pytest.mark.parametrize("counts", [(1,), (1, 2, 4)])
@pytest.mark.parametrize("options", [{}, {"lowercase": True}, {"word_order": 2}])
def test_chrf_is_sacrebleus(counts, options):
    predictions, references = corpus(2, 103, counts)
    official = CHRF(**options)
    expected = official.corpus_score(predictions, columns(references)).score
    metric = Chrf(**options)
    assert updated(metric, predictions, references) == {"chrf": expected}
    assert metric.signature == str(official.get_signature())


@pytest.mark.parametrize("stemmer", [True, False])
def test_rouge_is_the_mean_of_rouge_score(stemmer):
    predictions, references = corpus(3, 61, (1, 3))
    scorer = RougeScorer(ROUGE_TYPES, use_stemmer=stemmer)
    lines = [[split_sentences(one) for one in texts] for texts in references]
    outputs = [split_sentences(one) for one in predictions]
    best = [scorer.score_multi(texts, one) for texts, one in zip(lines, outputs, strict=True)]
    first = [scorer.score(texts[0], one) for texts, one in zip(lines, outputs, strict=True)]
    found = updated(Rouge(use_stemmer=stemmer), predictions, references)
    assert list(found) == ROUGE_TYPES + [f"{name}_first" for name in ROUGE_TYPES]
    for name in ROUGE_TYPES:
        mean = sum(one[name].fmeasure for one in best) / len(best)
        assert found[name] == pytest.approx(100 * mean, abs=1e-7)
        mean = sum(one[name].fmeasure for one in first) / len(first)
        assert found[f"{name}_first"] == pytest.approx(100 * mean, abs=1e-7)
    assert found["rouge1"] > found["rouge1_first"]
    assert found["rougeLsum"] != found["rougeL"]


def test_rouge_of_texts_left_as_they_are():
    predictions, references = ["One two. Three four."], [["Three four. One two."]]
    scorer = RougeScorer(ROUGE_TYPES, use_stemmer=True)
    official = scorer.score(references[0][0], predictions[0])
    found = updated(Rouge(split=False), predictions, references)
    assert found == {
        name: pytest.approx(100 * official[name].fmeasure, abs=1e-7) for name in ROUGE_TYPES
    }
    # With a sentence a line the order of sentences does not matter to rougeLsum.
    assert updated(Rouge(), predictions, references)["rougeLsum"] == pytest.approx(100)
    assert found["rougeLsum"] < 60


def bare(answer: str) -> list[str]:
    """The words SQuAD compares, found another way: word by word over a split text."""
    letters = "".join(" " if letter.isspace() else letter for letter in answer.lower())
    letters = "".join(letter for letter in letters if letter not in string.punctuation)
    pieces = re.findall(r"\w+|[^\w\s]+|\s+", letters)
    return "".join(" " if piece in ("a", "an", "the") else piece for piece in pieces).split()


def official_2(prediction: str, answers: list[str]) -> tuple[float, float]:
    """Exact match and F1 of one question by SQuAD 2.0's definition."""
    golds = [bare(answer) for answer in answers if bare(answer)] or [[]]
    said = bare(prediction)
    overlaps = []
    for gold in golds:
        if not gold or not said:
            overlaps.append(float(gold == said))
            continue
        common = sum(min(gold.count(word), said.count(word)) for word in set(gold))
        overlaps.append(2 * common / (len(gold) + len(said)))
    return float(said in golds), max(overlaps)


def questions(seed: int, examples: int, unanswerable: float) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)
    predictions, references = [], []
    for _ in range(examples):
        answers = [text(rng, rng.randint(1, 5)) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.1:
            answers.append(rng.choice([".", "the", "A"]))  # normalise to nothing
        prediction = rng.choice(
            [answers[0], answers[-1].upper(), corrupted(rng, answers[0]), "", "the", text(rng, 3)]
        )
        predictions.append(prediction)
        references.append([] if rng.random() < unanswerable else answers)
    return predictions, references


def test_answers_are_scored_as_squad_2_does():
    predictions, references = questions(5, 701, unanswerable=0.4)
    pairs = list(zip(predictions, references, strict=True))
    expected = [official_2(*pair) for pair in pairs]
    for (prediction, answers), (exact, overlap) in zip(pairs, expected, strict=True):
        assert exact_match(prediction, answers) == exact, (prediction, answers)
        assert f1(prediction, answers) == pytest.approx(overlap), (prediction, answers)

    def mean(part: int, keep) -> float:
        kept = [one[part] for one, pair in zip(expected, pairs, strict=True) if keep(pair[1])]
        return pytest.approx(100 * sum(kept) / len(kept), abs=1e-7)

    assert updated(SquadScore(), predictions, references) == {
        "exact_match": mean(0, lambda _: True),
        "f1": mean(1, lambda _: True),
        "answerable_exact_match": mean(0, bool),
        "answerable_f1": mean(1, bool),
        "unanswerable_exact_match": mean(0, lambda answers: not answers),
    }


def test_answers_are_scored_as_squad_1_does():
    predictions, references = questions(6, 301, unanswerable=0.0)
    # torchmetrics departs from the script of 1.1 where both texts normalise to nothing.
    for place, prediction in enumerate(predictions):
        if not bare(prediction):
            references[place] = [one for one in references[place] if bare(one)] or ["42"]
    yardstick = SQuAD()
    yardstick.update(
        [{"prediction_text": one, "id": str(i)} for i, one in enumerate(predictions)],
        [
            {"answers": {"text": texts, "answer_start": [0] * len(texts)}, "id": str(i)}
            for i, texts in enumerate(references)
        ],
    )
    expected = {name: float(value) for name, value in yardstick.compute().items()}
    found = updated(SquadScore(), predictions, references)
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert 30 < found["exact_match"] < found["f1"] < 90


def test_an_answer_of_squad_1_that_normalises_to_nothing():
    # Its script compares it like any other for exact match, and its F1 is 0 as no word is shared.
    assert updated(SquadScore(), ["."], [["the", "x"]]) == {"exact_match": 100.0, "f1": 0.0}
    # The script of 2.0 passes over it.
    found = updated(SquadScore(), [".", ""], [["the", "x"], []])
    assert found["answerable_exact_match"] == 0.0
    assert found["unanswerable_exact_match"] == 100.0


@pytest.mark.parametrize("labels", [2, 5])
def test_classification_scores_are_torchmetrics(labels):
    generator = torch.Generator().manual_seed(labels)
    probabilities = (torch.randn(331, labels, generator=generator) * 2).softmax(dim=-1)
    wanted = torch.where(
        torch.rand(331, generator=generator) < 0.6,
        probabilities.argmax(dim=-1),
        torch.randint(0, labels, (331,), generator=generator),
    )
    ours = ClassificationScore(n_labels=labels)
    theirs = {
        "accuracy": MulticlassAccuracy(labels, average="micro"),
        "macro_f1": MulticlassF1Score(labels, average="macro"),
        "calibration_error": MulticlassCalibrationError(labels, n_bins=15, norm="l1"),
    }
    for rows in torch.arange(331).split(43):
        ours.update(probabilities[rows], wanted[rows])
        for metric in theirs.values():
            metric.update(probabilities[rows], wanted[rows])
    found = {name: float(value) for name, value in ours.compute().items()}
    assert found == {
        name: pytest.approx(100 * float(metric.compute()), rel=1e-5)
        for name, metric in theirs.items()
    }
    assert found["calibration_error"] > 1
