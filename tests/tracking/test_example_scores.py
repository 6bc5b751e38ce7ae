"""Scores of single examples, against the field's own scorers called directly."""

from __future__ import annotations

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from heed.tracking.example_scores import example_scorer

PAIRS = {"references": ["the cats were sitting there", "a cat sat"], "source": "s"}


def scorer(kind, monitor="val/x"):
    found = example_scorer({"task": {"kind": kind, "monitor": monitor}})
    assert found is not None
    return found


def test_labels():
    score = scorer("labelled_text").score
    assert (score("yes", ["yes"]), score("no", ["yes"])) == (100.0, 0.0)


def test_answers():
    score = scorer("passages").score
    assert score("the old bridge", ["bridge"]) == pytest.approx(200 / 3)  # P 1/2, R 1
    assert score("", []) == 100.0


def test_texts_of_a_translation():
    score = scorer("pairs", "val/bleu")
    assert score.name == "chrF"
    expected = sacrebleu.sentence_chrf("the cat sat there", PAIRS["references"]).score
    assert score.score("the cat sat there", score.references(PAIRS)) == expected


def test_texts_of_a_summary():
    score = scorer("pairs", "val/rouge1")
    official = RougeScorer(["rougeL"], use_stemmer=True)
    expected = official.score_multi(PAIRS["references"], "the cat sat there")["rougeL"].fmeasure
    assert score.score("the cat sat there", score.references(PAIRS)) == pytest.approx(
        100 * expected
    )


def test_a_kind_of_the_users_own_has_none():
    assert example_scorer({"task": {"kind": "graphs"}}) is None
    assert example_scorer({}) is None
