"""Sampling: the distribution drawn from, its truncation, and its seed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder
from heed.errors import UserError

# Values that chi-squared exceeds with probability 0.001, by degrees of freedom.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}
SAMPLES = 4001


def expected_probabilities(weights: dict[int, float], *, temperature=1.0, top_k=0, top_p=1.0):
    """By the definitions, over a plain dictionary of token probabilities."""
    sharpened = {token: weight ** (1 / temperature) for token, weight in weights.items()}
    ranked = sorted(sharpened.items(), key=lambda one: -one[1])
    if top_k:
        ranked = ranked[:top_k]
    total = sum(weight for _, weight in ranked)
    kept, held = [], 0.0
    for token, weight in ranked:
        if held < top_p:
            kept.append((token, weight))
        held += weight / total
    total = sum(weight for _, weight in kept)
    return {token: weight / total for token, weight in kept}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7},
        {"top_k": 3},
        {"top_p": 0.75},
        {"top_k": 4, "top_p": 0.6, "temperature": 1.3},
    ],
)
def test_tokens_come_as_often_as_they_should(toy, options):
    weights = {2: 0.1, 3: 0.15, 4: 0.4, 5: 0.05, 6: 0.3}
    logits = torch.full((toy.vocabulary,), -20.0)  # padding and beginning of sentence: as good as 0
    for token, weight in weights.items():
        logits[token] = torch.tensor(weight).log()
    step = toy.chain(logits.expand(1, 7, 7, 7).clone())
    decoder = SamplingDecoder(n_best=SAMPLES, seed=4, max_length=1, **options)
    (found,) = decoder(step, batch_size=1, **toy.ids)
    counts = Counter(one.tokens[0] if one.tokens else toy.eos for one in found)
    expected = expected_probabilities(weights, **options)
    assert set(counts) <= set(expected), "a token outside the truncation was drawn"
    chi_squared = sum(
        (counts[token] - SAMPLES * share) ** 2 / (SAMPLES * share)
        for token, share in expected.items()
    )
    assert chi_squared < CRITICAL[len(expected) - 1]
    # Scores are the model's, whatever was drawn from.
    for one in found[:5] + found[-5:]:
        token = one.tokens[0] if one.tokens else toy.eos
        assert one.score == pytest.approx(torch.tensor(weights[token]).log().item(), abs=1e-4)


def test_the_seed_decides_and_calls_do_not_disturb_each_other(toy):
    language = toy.language(5, seed=1, scale=1.0)
    decoder = SamplingDecoder(seed=3, n_best=3, max_length=9)
    first = decoder(language.step(), batch_size=5, **toy.ids)
    torch.rand(7)
    assert decoder(language.step(), batch_size=5, **toy.ids) == first
    other = SamplingDecoder(seed=4, n_best=3, max_length=9)
    assert other(language.step(), batch_size=5, **toy.ids) != first


def test_samples_are_scored_and_sorted_by_the_model(toy):
    language = toy.language(5, seed=1)
    found = SamplingDecoder(n_best=7, max_length=9)(language.step(), batch_size=5, **toy.ids)
    for sentence, samples in enumerate(found):
        assert len(samples) == 7
        assert samples == sorted(samples, key=lambda one: -one.score)
        for one in samples:
            tokens = one.tokens if len(one.tokens) == 9 else [*one.tokens, toy.eos]
            expected = language.log_probability(sentence, tokens)
            assert one.score == pytest.approx(expected, rel=1e-4)


def test_the_likeliest_alone_is_greedy_search(toy):
    language = toy.language(5, seed=1)
    greedy = GreedyDecoder(max_length=9)(language.step(), batch_size=5, **toy.ids)
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
        decoder = SamplingDecoder(max_length=9, **options)
        assert decoder(language.step(), batch_size=5, **toy.ids) == greedy


def test_limits_hold(toy):
    language = toy.language(3, seed=1, eos=2.0)
    decoder = SamplingDecoder(n_best=50, min_length=2, no_repeat_ngram_size=2, max_length=7)
    for samples in decoder(language.step(), batch_size=3, **toy.ids):
        assert {len(one.tokens) for one in samples} <= set(range(2, 8))
        assert not any(toy.repeats_ngram(one.tokens, 2) for one in samples)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"temperature": 0.0},
            "decoding.temperature must be above 0, but is 0.0; .*decoding=greedy",
        ),
        ({"top_k": -1}, "decoding.top_k must be at least 0, but is -1"),
        ({"top_p": 0.0}, "decoding.top_p must be above 0 and at most 1, but is 0.0"),
        ({"top_p": 1.1}, "decoding.top_p must be above 0 and at most 1, but is 1.1"),
        ({"n_best": 0}, "decoding.n_best must be at least 1, but is 0"),
    ],
)
def test_values_out_of_range_are_named(options, words):
    with pytest.raises(UserError, match=words):
        SamplingDecoder(**options)
