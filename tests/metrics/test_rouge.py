"""ROUGE: keys, best and first reference, sentences."""

from __future__ import annotations

import pytest

from heed.metrics.rouge import ROUGE_TYPES, Rouge, split_sentences


def test_the_best_reference_counts_for_each_type_on_its_own():
    metric = Rouge()
    # Words shared with the first reference: 3 of 3 in another order; a bigram with the second only.
    metric.update(["red green blue"], [["blue green red", "red green"]])
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["rouge1"] == pytest.approx(100)
    assert found["rouge2"] == pytest.approx(100 * 2 * (1 / 2) * 1 / (1 / 2 + 1))
    assert found["rouge1_first"] == pytest.approx(100)
    assert found["rouge2_first"] == 0


def test_first_reference_figures_appear_only_beside_several():
    metric = Rouge()
    metric.update(["red"], [["red"]])
    assert list(metric.compute()) == ROUGE_TYPES
    metric.update(["red"], [["red", "blue"]])
    assert list(metric.compute()) == [*ROUGE_TYPES, *(f"{name}_first" for name in ROUGE_TYPES)]


def test_stems_are_compared():
    metric = Rouge()
    metric.update(["generously running"], [["generous runs"]])
    assert float(metric.compute()["rouge2"]) == pytest.approx(100)
    plain = Rouge(use_stemmer=False)
    plain.update(["generously running"], [["generous runs"]])
    assert float(plain.compute()["rouge1"]) == 0


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One. Two! Three? Four", "One.\nTwo!\nThree?\nFour"),
        ("Already\nsplit. Here", "Already\nsplit.\nHere"),
        (" It costs 3.14 today. ", "It costs 3.14 today."),
        ("", ""),
    ],
)
def test_a_sentence_a_line(text, lines):
    assert split_sentences(text) == lines


def test_an_output_without_references_is_refused():
    with pytest.raises(AssertionError, match="at least one reference"):
        Rouge().update(["a"], [[]])
