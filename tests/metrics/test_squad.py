"""Exact match and F1: normalisation and credit, case by case."""

from __future__ import annotations

import pytest

from heed.metrics.squad import SquadScore, exact_match, f1, normalise


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The  Broncos!", "broncos"),
        ("an e-mail\tto a theatre", "email to theatre"),
        ("24–10", "24–10"),  # not ASCII punctuation
        ("A.N. Other", "other"),  # punctuation goes first, which leaves "an"
        (" the ", ""),
    ],
)
def test_normalisation(answer, words):
    assert normalise(answer) == words


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("the Denver Broncos", ["Broncos", "denver broncos."], 1.0, 1.0),
        ("Denver", ["Broncos", "Denver Broncos"], 0.0, 2 / 3),
        ("no no yes", ["no yes yes yes"], 0.0, 4 / 7),  # two words shared, counted as a bag
        ("", ["Denver"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("Denver", [], 0.0, 0.0),
        ("the", [], 1.0, 1.0),  # normalises to the empty text
    ],
)
def test_credit(prediction, answers, exact, overlap):
    assert exact_match(prediction, answers) == exact
    assert f1(prediction, answers) == pytest.approx(overlap)


def test_both_kinds_of_question_are_told_apart():
    metric = SquadScore()
    metric.update(["Denver", "x", "", ""], [["Denver Broncos"], [], [], ["y"]])
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found == {
        "exact_match": 25.0,
        "f1": pytest.approx(100 * (2 / 3 + 1) / 4),
        "answerable_exact_match": 0.0,
        "answerable_f1": pytest.approx(100 * (2 / 3) / 2),
        "unanswerable_exact_match": 50.0,
    }


def test_a_corpus_where_all_can_be_answered_has_two_figures():
    metric = SquadScore()
    metric.update(["Denver"], [["Denver"]])
    assert {name: float(value) for name, value in metric.compute().items()} == {
        "exact_match": 100.0,
        "f1": 100.0,
    }
