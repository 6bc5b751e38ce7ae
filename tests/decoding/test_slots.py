"""Slots against the searches whose rows leave, over chains that live in the step.

Legend: B slots, K beams, L room.
"""

from __future__ import annotations

import pytest
import torch

from heed.decoding import slot_stream
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Ids
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder
from heed.decoding.slot_stream import write
from heed.decoding.slots import SlotSearch, rules_of

ROOM = 11


class ChainPool:
    """Slots with a chain of its own for each sentence; what a beam has read lies where it was read,
    and is found by `rows`, as keys and values are."""

    def __init__(self, toy, decoder, slots: int) -> None:
        self.slots = slots
        rules = rules_of(decoder)
        ids = Ids(toy.bos, toy.eos, toy.pad)
        self.search = SlotSearch(rules, ids, slots=slots, room=ROOM, device="cpu")
        self.open = self.search.open
        self.tables = torch.zeros(slots, *[toy.vocabulary] * 3)
        self.seen = torch.full((slots, rules.beam_size, ROOM), toy.pad)
        self.begun: list[int] = []
        self.turns = 0

    def begin(self, slots, language) -> None:
        assert not self.open[slots].any()
        self.begun.append(self.turns)
        self.tables[slots] = language.tables
        self.search.begin(torch.tensor(slots), torch.tensor(language.limits))

    def turn(self) -> None:
        self.turns += 1
        self.search.turn(self)

    def found(self, slots):
        return self.search.found(torch.tensor(slots))

    def __call__(self, tokens, positions, rows):
        sentence = torch.arange(self.slots)[:, None]
        self.seen[sentence, torch.arange(tokens.shape[1]), positions[:, None]] = tokens
        # (B, K) the row of the token before the newest, and that token
        before = rows[sentence, torch.arange(tokens.shape[1]), positions[:, None] - 1]
        previous = self.seen[sentence, before, positions[:, None] - 1]
        previous = previous.masked_fill(positions[:, None] == 0, 0)  # padding, as in `Chain`
        return self.tables[sentence, previous, tokens].flatten(0, 1)


DECODERS = {
    "greedy": GreedyDecoder(),
    "greedy, minimum": GreedyDecoder(min_length=3),
    "exact": BeamDecoder(beam_size=3, n_best=3),
    "sums": BeamDecoder(beam_size=2, length_penalty=0.0, early_stopping=True),
    "short": BeamDecoder(beam_size=3, n_best=2, length_penalty=-1.0),
    "long": BeamDecoder(beam_size=3, n_best=3, length_penalty=2.0, min_length=2),
    "one": BeamDecoder(beam_size=1, early_stopping=True),
}
LIMITS = [[9, 1, 5, 7], [11, 3], [8, 2, 9, 6], [4], [1, 1, 1]]


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("name", DECODERS)
def test_slots_find_what_searches_find_whose_rows_leave(toy, name, ahead, monkeypatch):
    monkeypatch.setattr(slot_stream, "AHEAD", ahead)
    decoder, languages = DECODERS[name], []
    for seed, limits in enumerate(LIMITS):
        languages.append(toy.language(len(limits), seed=seed, eos=0.5))
        languages[-1].limits = limits
    found = list(write(ChainPool(toy, decoder, slots=6), languages))
    assert len(found) == len(languages)
    for language, own in zip(languages, found, strict=True):
        expected = decoder(
            language.step(),
            batch_size=len(language),
            max_length=torch.tensor(language.limits),
            **toy.ids,
        )
        for one, other in zip(own, expected, strict=True):
            toy.assert_same(one, [(h.tokens, h.score) for h in other])


def test_a_batch_begins_as_soon_as_there_is_room_and_not_before(toy):
    languages = []
    for seed, limits in enumerate([[2, 9, 9], [3, 2], [9], [5]]):
        languages.append(toy.language(len(limits), seed=seed, eos=-50.0))  # written to their limits
        languages[-1].limits = limits
    pool = ChainPool(toy, DECODERS["one"], slots=4)
    found = list(write(pool, languages))
    assert [[len(one[0].tokens) for one in batch] for batch in found] == [
        [2, 9, 9],
        [3, 2],
        [9],
        [5],
    ]
    # One is free at once, and a second after two turns, which are seen one turn late. Those of the
    # second batch end after two and three more, when each of the last two takes one place.
    assert pool.begun == [0, 3, 6, 7]


def test_empty_batches_give_nothing(toy):
    empty, full = toy.language(0, seed=0), toy.language(2, seed=1, eos=1.0)
    empty.limits, full.limits = [], [3, 4]
    found = list(write(ChainPool(toy, DECODERS["one"], slots=4), [empty, full, empty]))
    assert [len(batch) for batch in found] == [0, 2, 0]
    assert list(write(ChainPool(toy, DECODERS["one"], slots=4), [])) == []


def test_what_slots_cannot_do_has_no_rules():
    assert rules_of(SamplingDecoder()) is None
    assert rules_of(BeamDecoder(no_repeat_ngram_size=2)) is None
    assert rules_of(GreedyDecoder(no_repeat_ngram_size=2)) is None
    assert rules_of(GreedyDecoder(min_length=2)).min_length == 2
