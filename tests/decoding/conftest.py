"""A small language whose every sentence can be listed, and a plain beam search to compare with."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

PAD, BOS, EOS = 0, 1, 2
VOCABULARY = 7
IDS = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD}


class Chain:
    """A second-order Markov chain of its own for each sentence: the next token depends on two.

    What a row has seen lives in the step, so a wrong `reorder` gives wrong logits. Row counts are
    recorded in `rows_computed`.
    """

    def __init__(self, tables: torch.Tensor) -> None:
        self.tables = tables  # (B, V, V, V)
        self.sentence = torch.arange(len(tables))
        self.previous = torch.full((len(tables),), PAD)
        self.current = torch.full((len(tables),), PAD)
        self.rows_computed: list[int] = []

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape == self.current.shape
        self.rows_computed.append(len(tokens))
        self.previous, self.current = self.current, tokens
        return self.tables[self.sentence, self.previous, self.current]

    def reorder(self, rows: torch.Tensor) -> None:
        assert self.rows_computed, "nothing has been written yet"
        self.sentence = self.sentence[rows]
        self.previous = self.previous[rows]
        self.current = self.current[rows]

    def join(self, other: Chain) -> None:
        assert self.rows_computed, "nothing has been written yet"
        assert other.rows_computed, "nothing has been written yet"
        self.sentence = torch.cat((self.sentence, other.sentence + len(self.tables)))
        self.tables = torch.cat((self.tables, other.tables))
        self.previous = torch.cat((self.previous, other.previous))
        self.current = torch.cat((self.current, other.current))


class Language:
    """Random chains, and what can be said of them in plain Python."""

    def __init__(self, sentences: int, *, seed: int, scale: float = 2.0, eos: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (sentences, VOCABULARY, VOCABULARY, VOCABULARY)
        self.tables = torch.randn(shape, generator=generator) * scale
        self.tables[..., EOS] += eos

    def __len__(self) -> int:
        return len(self.tables)

    def step(self, sentence: int | None = None) -> Chain:
        return Chain(self.tables if sentence is None else self.tables[sentence : sentence + 1])

    def log_probability(self, sentence: int, tokens: list[int]) -> float:
        """Of tokens that follow the beginning of sentence."""
        history = [PAD, BOS, *tokens]
        log_probabilities = self.tables[sentence].double().log_softmax(dim=-1)
        return sum(
            float(log_probabilities[a, b, c])
            for a, b, c in zip(history, history[1:], history[2:], strict=False)
        )

    def every_output(self, limit: int) -> list[list[int]]:
        """All that can be written: up to the end of sentence, or cut off at the limit."""
        words = range(3, VOCABULARY)
        outputs = [
            [*words_before, EOS]
            for length in range(limit)
            for words_before in itertools.product(words, repeat=length)
        ]
        return outputs + [list(cut) for cut in itertools.product(words, repeat=limit)]


def repeats_ngram(tokens: list[int], size: int) -> bool:
    ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(set(ngrams)) < len(ngrams)


def plain_beam_search(
    language: Language,
    sentence: int,
    *,
    beam_size: int,
    limit: int,
    length_penalty: float = 1.0,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    stop_when_full: bool = False,
) -> list[tuple[list[int], float]]:
    """One sentence, lists and sorting, never stopping before the limit (unless told): the twin."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        candidates = []
        for _, tokens in beams:
            for token in range(2, VOCABULARY):
                longer = [*tokens, token]
                if token == EOS and len(tokens) < min_length:
                    continue
                if no_repeat_ngram_size and repeats_ngram(longer, no_repeat_ngram_size):
                    continue
                candidates.append((language.log_probability(sentence, longer), longer))
        candidates = sorted(candidates, reverse=True)[: 2 * beam_size]
        for score, tokens in candidates[:beam_size]:
            if tokens[-1] == EOS or length == limit:
                finished.append((score / length**length_penalty, tokens))
        finished = sorted(finished, reverse=True)[:beam_size]
        beams = [one for one in candidates if one[1][-1] != EOS][:beam_size]
        if stop_when_full and len(finished) == beam_size:
            break
    return [([token for token in tokens if token != EOS], score) for score, tokens in finished]


def assert_same(found, expected) -> None:
    """Hypotheses of one sentence against (tokens, score) pairs."""
    assert [one.tokens for one in found] == [tokens for tokens, _ in expected]
    for one, (_, score) in zip(found, expected, strict=True):
        assert math.isclose(one.score, score, rel_tol=1e-5, abs_tol=1e-5)


@pytest.fixture(scope="session")
def toy():
    """The names above, for tests."""

    class Toy:
        ids = IDS
        pad, bos, eos, vocabulary = PAD, BOS, EOS, VOCABULARY
        language = Language
        chain = Chain

    Toy.beam_search = staticmethod(plain_beam_search)
    Toy.assert_same = staticmethod(assert_same)
    Toy.repeats_ngram = staticmethod(repeats_ngram)
    return Toy
