"""Beam search against every possible output, and against a plain twin that never stops early."""

from __future__ import annotations

import math

import pytest
import torch

from heed.decoding.beam import BeamDecoder
from heed.errors import UserError, UserErrors


@pytest.mark.parametrize("length_penalty", [-0.7, 0.0, 0.6, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_outputs(toy, length_penalty):
    language = toy.language(3, seed=11)
    limit = 4
    # 4 words: 4 ** 3 beginnings before the last step, so nothing is ever pruned.
    decoder = BeamDecoder(beam_size=64, n_best=5, length_penalty=length_penalty)
    found = decoder(language.step(), batch_size=3, max_length=limit, **toy.ids)
    for sentence in range(3):
        scored = [
            (
                [token for token in output if token != toy.eos],
                language.log_probability(sentence, output) / len(output) ** length_penalty,
            )
            for output in language.every_output(limit)
        ]
        best = sorted(scored, key=lambda one: -one[1])[:5]
        toy.assert_same(found[sentence], best)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 3, "n_best": 3, "length_penalty": 1.0},
        {"beam_size": 3, "n_best": 1, "length_penalty": 1.0},
        {"beam_size": 5, "n_best": 2, "length_penalty": 0.0},
        {"beam_size": 2, "n_best": 2, "length_penalty": 2.0, "min_length": 3},
        {"beam_size": 3, "n_best": 2, "length_penalty": -1.0},
        {"beam_size": 2, "n_best": 1, "length_penalty": -0.3},
        {"beam_size": 3, "n_best": 3, "length_penalty": 0.6, "no_repeat_ngram_size": 2},
        {"beam_size": 4, "n_best": 2, "no_repeat_ngram_size": 1, "min_length": 2},
        {"beam_size": 1, "n_best": 1, "length_penalty": 1.0},
    ],
)
def test_a_narrow_beam_equals_the_plain_twin(toy, options, early_stopping):
    limits = [9, 1, 5, 7, 9, 3, 8, 2, 9, 6, 4]
    language = toy.language(len(limits), seed=5, eos=0.5)
    decoder = BeamDecoder(early_stopping=early_stopping, **options)
    found = decoder(
        language.step(), batch_size=len(limits), max_length=torch.tensor(limits), **toy.ids
    )
    plain = {name: value for name, value in options.items() if name != "n_best"}
    for sentence, limit in enumerate(limits):
        expected = toy.beam_search(
            language, sentence, limit=limit, stop_when_full=early_stopping, **plain
        )
        toy.assert_same(found[sentence], expected[: options["n_best"]])


def test_a_batch_gives_what_single_sentences_give(toy):
    language = toy.language(13, seed=2, eos=1.0)
    decoder = BeamDecoder(beam_size=4, n_best=4, length_penalty=0.6, max_length=17)
    together = decoder(language.step(), batch_size=13, **toy.ids)
    for sentence in range(13):
        (alone,) = decoder(language.step(sentence), batch_size=1, **toy.ids)
        toy.assert_same(together[sentence], alone)


def test_the_work_shrinks_as_sentences_finish(toy):
    language = toy.language(13, seed=2, eos=1.0)
    step = language.step()
    BeamDecoder(beam_size=4, length_penalty=0.0, max_length=17)(step, batch_size=13, **toy.ids)
    assert step.rows_computed[0] == 13, "before the first token all beams are the same"
    rows = step.rows_computed[1:]
    assert all(count % 4 == 0 for count in rows)
    assert rows == sorted(rows, reverse=True)
    assert 0 < rows[-1] < rows[0] <= 13 * 4


def test_a_sentence_stops_once_nothing_can_beat_what_has_finished(toy):
    # The end of sentence has probability near 1 at once: nothing else can come close.
    tables = torch.zeros(1, *[toy.vocabulary] * 3)
    tables[..., toy.eos] = 20.0
    step = toy.chain(tables)
    (found,) = BeamDecoder(beam_size=3, length_penalty=1.0, max_length=50)(
        step, batch_size=1, **toy.ids
    )
    assert found[0].tokens == []
    # A word costs about 20 nats; divided by 50 that is still below the finished score of near 0.
    assert len(step.rows_computed) == 1


def test_fewer_outputs_than_asked_where_the_limits_allow_fewer(toy):
    # Four words, none may repeat, one token in all: four outputs cut off, and the empty one.
    language = toy.language(2, seed=3)
    decoder = BeamDecoder(beam_size=11, n_best=11, no_repeat_ngram_size=1, max_length=1)
    for found in decoder(language.step(), batch_size=2, **toy.ids):
        assert sorted(one.tokens for one in found) == [[], [3], [4], [5], [6]]


def test_limits_that_nothing_can_meet_give_an_empty_hypothesis(toy):
    # Five words without repeating one, out of four.
    language = toy.language(2, seed=3)
    decoder = BeamDecoder(beam_size=3, no_repeat_ngram_size=1, min_length=5, max_length=8)
    found = decoder(language.step(), batch_size=2, **toy.ids)
    assert found == [[([], -math.inf)], [([], -math.inf)]]


def test_an_empty_batch_gives_nothing(toy):
    assert BeamDecoder()(toy.chain(torch.zeros(0, 7, 7, 7)), batch_size=0, **toy.ids) == []


def test_half_precision_logits_are_scored_in_single(toy):
    language = toy.language(3, seed=7)
    language.tables = language.tables.bfloat16().float()

    class Half(toy.chain):
        def __call__(self, tokens):
            return super().__call__(tokens).bfloat16()

    decoder = BeamDecoder(beam_size=3, max_length=6)
    expected = decoder(language.step(), batch_size=3, **toy.ids)
    assert decoder(Half(language.tables), batch_size=3, **toy.ids) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beam_size": 0}, "decoding.beam_size must be at least 1, but is 0"),
        ({"n_best": 6}, r"decoding.n_best must be at most decoding.beam_size \(5\), but is 6"),
        ({"n_best": 0}, "decoding.n_best must be at least 1, but is 0"),
        ({"length_penalty": math.nan}, "decoding.length_penalty must be a finite number"),
        ({"max_length": 0}, "decoding.max_length must be at least 1, but is 0"),
        ({"max_length_ratio": -1.0}, "decoding.max_length_ratio must be at least 0"),
        ({"max_length_extra": -1}, "decoding.max_length_extra must be at least 0"),
        ({"min_length": -2}, "decoding.min_length must be at least 0, but is -2"),
        ({"min_length": 9, "max_length": 9}, "try decoding.max_length=10"),
        ({"no_repeat_ngram_size": -1}, "decoding.no_repeat_ngram_size must be at least 1, or 0"),
    ],
)
def test_values_out_of_range_are_named(options, words):
    with pytest.raises(UserError, match=words):
        BeamDecoder(**options)


def test_all_values_out_of_range_are_named_together():
    with pytest.raises(UserErrors) as raised:
        BeamDecoder(beam_size=0, max_length=0, min_length=-1)
    assert len(raised.value.errors) == 3
