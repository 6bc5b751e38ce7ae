"""Learn the pieces of a Unigram language model, the same ones every time (Kudo 2018, section 3.2).

Expectation-maximisation over all segmentations of every word, then the pieces that the likelihood
would miss least are dropped, until the vocabulary has its size. The `tokenizers` library has a
trainer too, but goes through the words in random order, so that no two trainings agree.

Legend: W words of one length, N that length in characters, L the longest piece, P pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LONGEST_PIECE = 16
LONGEST_WORD = 32  # longer ones are rare, and are no words
MOST_WORDS = 200_000  # the most frequent; the rest would change little and cost much
KEPT_EACH_TIME = 0.75  # of the pieces, as SentencePiece does
STEPS_EACH_TIME = 2  # of expectation-maximisation
LEAST = 1e-9  # probability of a character that is never needed as a piece


class _Words(NamedTuple):
    """Words of one length.

    Attributes:
        arcs: (W, N + 1, L) the piece that ends at a position and has l + 1 characters; P if none.
        counts: (W,) how often each word occurs.
    """

    arcs: np.ndarray
    counts: np.ndarray


def learn_pieces(
    words: dict[str, int], seeds: Sequence[str], alphabet: Sequence[str], *, size: int
) -> list[tuple[str, float]]:
    """The pieces of a Unigram model and their log probabilities.

    Args:
        words: Word -> how often it occurs.
        seeds: Candidate pieces; more than `size` to choose from.
        alphabet: Characters that stay pieces, whatever the words.
        size: How many pieces to end with, if there are as many.

    Returns:
        Pieces, most probable first.
    """
    pieces = list(alphabet)
    known = set(pieces)
    pieces += [s for s in seeds if 1 < len(s) <= LONGEST_PIECE and s not in known]
    frequent = {w: n for w, n in words.items() if len(w) <= LONGEST_WORD}
    frequent = dict(list(frequent.items())[:MOST_WORDS])
    n_fixed = len(alphabet)
    probabilities = np.ones(len(pieces))
    first = True
    while True:
        groups = _group(frequent, pieces)
        for _ in range(STEPS_EACH_TIME):
            if first:
                expected = _occurrences(groups, len(pieces))
                first = False
            else:
                expected = _expected(groups, probabilities)
            probabilities = np.maximum(expected / max(expected.sum(), 1.0), LEAST)
        if len(pieces) <= size:
            break
        loss = _loss(pieces, probabilities, expected)
        loss[:n_fixed] = np.inf
        keep = max(size, int(len(pieces) * KEPT_EACH_TIME))
        kept = sorted(np.lexsort((np.arange(len(pieces)), -loss))[:keep])
        pieces = [pieces[i] for i in kept]
        probabilities = probabilities[kept]
    scored = [(p, round(float(s), 6)) for p, s in zip(pieces, np.log(probabilities), strict=True)]
    return sorted(scored, key=lambda one: (-one[1], one[0]))


def _group(words: dict[str, int], pieces: Sequence[str]) -> list[_Words]:
    """The words by length, each with the pieces that stand in it."""
    index = {piece: i for i, piece in enumerate(pieces)}
    by_length: dict[int, list[str]] = {}
    for word in words:
        by_length.setdefault(len(word), []).append(word)
    groups = []
    for n, same in sorted(by_length.items()):
        longest = min(n, LONGEST_PIECE)
        arcs = np.full((len(same), n + 1, longest), len(pieces), dtype=np.int32)  # (W, N + 1, L)
        for row, word in enumerate(same):
            for end in range(1, n + 1):
                for size in range(1, min(end, longest) + 1):
                    piece = index.get(word[end - size : end])
                    if piece is not None:
                        arcs[row, end, size - 1] = piece
        counts = np.array([words[word] for word in same], dtype=np.float64)
        groups.append(_Words(arcs, counts))
    return groups


def _occurrences(groups: Sequence[_Words], n_pieces: int) -> np.ndarray:
    """(P,) how often each piece stands in the words, overlapping or not."""
    total = np.zeros(n_pieces + 1)
    for arcs, counts in groups:
        weights = np.broadcast_to(counts[:, None, None], arcs.shape)
        total += np.bincount(arcs.ravel(), weights.ravel(), minlength=n_pieces + 1)
    return total[:-1]


def _expected(groups: Sequence[_Words], probabilities: np.ndarray) -> np.ndarray:
    """(P,) how often each piece is used, over all segmentations by their probability."""
    padded = np.append(probabilities, 0.0)  # the piece that is not there
    total = np.zeros(len(padded))
    for arcs, counts in groups:
        n_words, n_ends, longest = arcs.shape
        arc_probability = padded[arcs]  # (W, N + 1, L)
        forward = np.zeros((n_words, n_ends))
        forward[:, 0] = 1.0
        for end in range(1, n_ends):
            for size in range(1, min(end, longest) + 1):
                forward[:, end] += forward[:, end - size] * arc_probability[:, end, size - 1]
        backward = np.zeros((n_words, n_ends))
        backward[:, -1] = 1.0
        for end in range(n_ends - 1, 0, -1):
            for size in range(1, min(end, longest) + 1):
                backward[:, end - size] += backward[:, end] * arc_probability[:, end, size - 1]
        scale = counts / np.maximum(forward[:, -1], 1e-300)
        for size in range(1, longest + 1):
            used = forward[:, :-size] * arc_probability[:, size:, size - 1] * backward[:, size:]
            weights = (used * scale[:, None]).ravel()
            total += np.bincount(arcs[:, size:, size - 1].ravel(), weights, minlength=len(padded))
    return total[:-1]


def _loss(pieces: Sequence[str], probabilities: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(P,) log likelihood that is lost when a piece is written as the best others instead."""
    padded = np.append(probabilities, 0.0)
    alternative = np.zeros(len(pieces))
    for arcs, _ in _group(dict.fromkeys(pieces, 1), pieces):
        n_words, n_ends, longest = arcs.shape
        arc_probability = padded[arcs]
        arc_probability[:, -1, n_ends - 2] = 0.0  # the piece itself
        best = np.zeros((n_words, n_ends))
        best[:, 0] = 1.0
        for end in range(1, n_ends):
            for size in range(1, min(end, longest) + 1):
                reached = best[:, end - size] * arc_probability[:, end, size - 1]
                best[:, end] = np.maximum(best[:, end], reached)
        alternative[arcs[:, -1, n_ends - 2]] = best[:, -1]
    return expected * (np.log(probabilities) - np.log(np.maximum(alternative, 1e-300)))
