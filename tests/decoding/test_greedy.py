"""Greedy search against a loop over single tokens, and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from heed.decoding.beam import BeamDecoder
from heed.decoding.greedy import GreedyDecoder
from heed.errors import UserError


def plain_greedy(toy, language, sentence, *, limit, min_length=0, no_repeat_ngram_size=0):
    """The likeliest allowed token, again and again."""
    tokens: list[int] = []
    for _ in range(limit):
        choices = []
        for token in range(2, toy.vocabulary):
            if token == toy.eos and len(tokens) < min_length:
                continue
            if no_repeat_ngram_size and toy.repeats_ngram([*tokens, token], no_repeat_ngram_size):
                continue
            choices.append((language.log_probability(sentence, [*tokens, token]), token))
        tokens.append(max(choices)[1])
        if tokens[-1] == toy.eos:
            break
    score = language.log_probability(sentence, tokens)
    return [([token for token in tokens if token != toy.eos], score)]


LIMITS = [9, 1, 5, 7, 9, 3, 8, 2, 9, 6, 4]


@pytest.mark.parametrize(
    "options",
    [{}, {"min_length": 4}, {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 1}],
)
def test_equals_a_plain_loop(toy, options):
    language = toy.language(len(LIMITS), seed=5, eos=0.5)
    found = GreedyDecoder(**options)(
        language.step(), batch_size=len(LIMITS), max_length=torch.tensor(LIMITS), **toy.ids
    )
    for sentence, limit in enumerate(LIMITS):
        expected = plain_greedy(toy, language, sentence, limit=limit, **options)
        toy.assert_same(found[sentence], expected)


def test_a_batch_gives_what_single_sentences_give(toy):
    language = toy.language(13, seed=2, eos=1.0)
    decoder = GreedyDecoder(max_length=17)
    step = language.step()
    together = decoder(step, batch_size=13, **toy.ids)
    assert len({len(one[0].tokens) for one in together}) > 2, "the sentences should end apart"
    assert step.rows_computed[-1] < 13, "finished sentences should leave"
    for sentence in range(13):
        (alone,) = decoder(language.step(sentence), batch_size=1, **toy.ids)
        toy.assert_same(together[sentence], alone)


def test_padding_and_beginning_of_sentence_are_never_written(toy):
    language = toy.language(5, seed=9)
    language.tables[..., toy.pad] = 30.0
    language.tables[..., toy.bos] = 40.0
    for decoder in (GreedyDecoder(max_length=6), BeamDecoder(max_length=6)):
        for (found,) in decoder(language.step(), batch_size=5, **toy.ids):
            assert not {toy.pad, toy.bos} & set(found.tokens)
            assert found.score < -30, "their probability is not dealt out to the others"


def test_a_family_may_begin_with_its_end_of_sentence(toy):
    language = toy.language(5, seed=9, eos=9.0)
    found = GreedyDecoder(max_length=6)(
        language.step(), batch_size=5, bos_id=toy.eos, eos_id=toy.eos, pad_id=toy.pad
    )
    assert [one.tokens for (one,) in found] == [[]] * 5


def test_a_row_that_may_write_nothing_ends_there(toy):
    language = toy.language(2, seed=3)
    decoder = GreedyDecoder(no_repeat_ngram_size=1, min_length=5, max_length=8)
    for (found,) in decoder(language.step(), batch_size=2, **toy.ids):
        assert sorted(found.tokens) == [3, 4, 5, 6]
        assert found.score == -math.inf


def test_the_limit_grows_with_the_source_up_to_the_maximum():
    decoder = GreedyDecoder(max_length=20, max_length_ratio=1.5, max_length_extra=3)
    assert decoder.max_lengths(torch.tensor([0, 1, 2, 7, 11, 12, 99])).tolist() == [
        3,
        4,
        6,
        13,
        19,
        20,
        20,
    ]
    plain = GreedyDecoder(max_length=20)
    assert plain.max_lengths(torch.tensor([1, 99])).tolist() == [20, 20]
    none = GreedyDecoder(max_length=20, max_length_ratio=0.1)
    assert none.max_lengths(torch.tensor([3])).tolist() == [1], "a limit is at least one token"


def test_values_out_of_range_are_named():
    with pytest.raises(UserError, match="decoding.max_length must be at least 1, but is -3"):
        GreedyDecoder(max_length=-3)
