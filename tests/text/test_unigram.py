"""Unigram: expectations and losses against an enumeration of every segmentation."""

import math

import numpy as np
import pytest

from heed.text.unigram import _expected, _group, _loss, _occurrences, learn_pieces

PIECES = ["a", "b", "ab", "ba", "aba", "bb"]
WORDS = {"abab": 3, "ba": 5, "abba": 2, "a": 7, "bbbab": 1}
PROBABILITIES = np.array([0.3, 0.2, 0.17, 0.13, 0.11, 0.09])


def segmentations(word: str, pieces: list[str]) -> list[list[str]]:
    if not word:
        return [[]]
    return [
        [piece, *rest]
        for piece in pieces
        if word.startswith(piece)
        for rest in segmentations(word[len(piece) :], pieces)
    ]


def probability(segmentation: list[str]) -> float:
    return math.prod(PROBABILITIES[PIECES.index(piece)] for piece in segmentation)


def test_expected_counts_are_those_of_all_segmentations():
    wanted = dict.fromkeys(PIECES, 0.0)
    for word, count in WORDS.items():
        every = segmentations(word, PIECES)
        total = sum(map(probability, every))
        for one in every:
            for piece in one:
                wanted[piece] += count * probability(one) / total
    found = _expected(_group(WORDS, PIECES), PROBABILITIES)
    np.testing.assert_allclose(found, list(wanted.values()), rtol=1e-12)


def test_occurrences_overlap():
    wanted = [
        sum(
            count
            for word, count in WORDS.items()
            for start in range(len(word))
            if word.startswith(piece, start)
        )
        for piece in PIECES
    ]
    assert _occurrences(_group(WORDS, PIECES), len(PIECES)).tolist() == wanted


def test_loss_is_that_of_the_best_other_spelling():
    expected = np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])
    loss = _loss(PIECES, PROBABILITIES, expected)
    for i, piece in enumerate(PIECES):
        others = [one for one in segmentations(piece, PIECES) if one != [piece]]
        if not others:
            assert loss[i] > 1000  # a character without which nothing can be spelt
            continue
        best = max(map(probability, others))
        wanted = expected[i] * math.log(PROBABILITIES[i] / best)
        assert loss[i] == pytest.approx(wanted, rel=1e-12)


def test_training_raises_the_likelihood_and_keeps_the_alphabet():
    seeds = ["ab", "ba", "aba", "abab", "bb", "bba"]
    learned = learn_pieces(WORDS, seeds, ["a", "b", "c"], size=5)
    assert len(learned) == 5
    assert {"a", "b", "c"} <= {piece for piece, _ in learned}
    assert [score for _, score in learned] == sorted((s for _, s in learned), reverse=True)
    assert sum(math.exp(score) for _, score in learned) == pytest.approx(1, abs=1e-5)


def test_the_piece_that_explains_most_stays():
    words = {"xyz": 100, "xy": 1, "z": 1}
    learned = learn_pieces(words, ["xy", "yz", "xyz"], ["x", "y", "z"], size=4)
    assert learned[0][0] == "xyz"
    assert "yz" not in dict(learned)
