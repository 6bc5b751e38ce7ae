"""Several batches in one step: as each alone, in order, and each begins when there is room."""

from __future__ import annotations

import itertools

import pytest
import torch

from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids, ToWrite
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder

from .conftest import BOS, EOS, IDS, PAD, Language

DECODERS: dict[str, Decoder] = {
    "greedy": GreedyDecoder(max_length=12),
    "short": GreedyDecoder(max_length=1),
    "beam": BeamDecoder(beam_size=3, n_best=2, max_length=9),
    "sample": SamplingDecoder(n_best=3, max_length=9, seed=4),
}
SIZES = [4, 1, 7, 0, 3, 3, 5, 1, 1, 8]


@pytest.mark.parametrize("name", DECODERS)
def test_each_batch_comes_out_as_alone(name):
    decoder = DECODERS[name]
    languages = [Language(size, seed=seed, eos=0.7) for seed, size in enumerate(SIZES)]
    batches = [ToWrite(one.step(), torch.full((len(one),), 9)) for one in languages]
    found = list(decoder.stream(iter(batches), Ids(BOS, EOS, PAD)))
    expected = [decoder(one.step(), batch_size=len(one), max_length=9, **IDS) for one in languages]
    assert [[[h.tokens for h in s] for s in batch] for batch in found] == [
        [[h.tokens for h in s] for s in batch] for batch in expected
    ]
    for batch, others in zip(found, expected, strict=True):
        for one, other in zip(batch, others, strict=True):
            assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-5)


def test_a_batch_begins_when_half_of_the_rows_have_gone():
    begun: list[int] = []
    languages = [Language(8, seed=seed, eos=1.5) for seed in range(12)]
    steps = [one.step() for one in languages]

    def batches():
        for number, step in enumerate(steps):
            begun.append(number)
            yield ToWrite(step, torch.full((8,), 40))

    stream = GreedyDecoder(max_length=40).stream(batches(), Ids(BOS, EOS, PAD))
    next(stream)
    assert len(begun) < 8  # not all are waiting in memory
    assert len(list(stream)) == 11
    computed = [rows for step in steps for rows in step.rows_computed]
    alone = []
    for one in languages:
        step = one.step()
        GreedyDecoder(max_length=40)(step, batch_size=8, **IDS)
        alone += step.rows_computed
    assert len(computed) < 0.8 * len(alone)  # fewer steps, and none of more than is room for
    assert max(computed) <= 8 + 4


def test_batches_that_end_at_once_are_given_at_once():
    """However many there are: they are not gathered."""
    begun: list[int] = []

    def endless():
        for seed in itertools.count():
            begun.append(seed)
            assert len(begun) < 20, "batches are gathered"
            yield ToWrite(Language(2, seed=seed).step(), torch.ones(2, dtype=torch.long))

    stream = GreedyDecoder(max_length=1).stream(endless(), Ids(BOS, EOS, PAD))
    for number in range(1, 5):
        assert len(next(stream)) == 2
        assert len(begun) == number


def test_no_batches_are_written_as_none():
    assert list(GreedyDecoder().stream(iter(()), Ids(BOS, EOS, PAD))) == []
