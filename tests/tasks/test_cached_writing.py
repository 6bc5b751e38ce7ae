"""Sentences written with a cache that beams share, against rows computed anew and alone.

Legend: B sentences, S source length, N rows, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids, ToWrite
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.writers import TransformerStep

V, BOS, EOS, PAD = 41, 1, 2, 0
LENGTHS = [7, 3, 5, 7, 2]
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "relative": {"positions": "relative", "norm": "rms_norm", "bias": False},
    "rotary": {"positions": "rotary", "n_kv_heads": 2, "qk_norm": True},
    "alibi": {"positions": "alibi", "norm_position": "post"},
    "windowed": {"attention": "windowed", "window": 3},
    "additive": {"attention": "additive"},
}
DECODERS: dict[str, Decoder] = {
    "greedy": GreedyDecoder(),
    "blocked": GreedyDecoder(min_length=4, no_repeat_ngram_size=2),
    "sample": SamplingDecoder(n_best=3, top_k=9, seed=5),
    "beam 1": BeamDecoder(beam_size=1),
    "beam 2": BeamDecoder(beam_size=2, length_penalty=0.0, no_repeat_ngram_size=2),
    "beam 5": BeamDecoder(beam_size=5, n_best=3, length_penalty=0.6, min_length=3),
    "beam 8": BeamDecoder(beam_size=8, n_best=2, early_stopping=True),
}


class FreshStep:
    """Computes each row anew at every step, without a cache.

    Args:
        model: The backbone.
        head: Its head.
        sources: B lists of ids.
    """

    def __init__(self, model: Transformer, head: VocabularyHead, sources: list[list[int]]) -> None:
        self.model, self.head = model, head
        self.rows: list[tuple[Tensor, list[int]]] = [
            (model.encode(torch.tensor([source])), []) for source in sources
        ]

    def __call__(self, tokens: Tensor) -> Tensor:
        pairs = zip(self.rows, tokens.tolist(), strict=True)
        self.rows = [(memory, [*row, token]) for (memory, row), token in pairs]
        return torch.cat([self._logits(memory, row) for memory, row in self.rows])

    def _logits(self, memory: Tensor, row: list[int]) -> Tensor:
        return self.head(self.model.decode(torch.tensor([row]), None, memory)[:, -1])

    def reorder(self, rows: Tensor) -> None:
        self.rows = [self.rows[i] for i in rows.tolist()]


@pytest.fixture(scope="module", params=MODELS)
def world(request):
    torch.manual_seed(3)
    model = Transformer(
        shape="encoder_decoder",
        vocabulary_size=V,
        d_model=24,
        n_heads=4,
        d_feed_forward=23,
        n_layers=2,
        **MODELS[request.param],
    ).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.4)
    sources = [torch.randint(3, V, (length,)).tolist() for length in LENGTHS]
    return model, VocabularyHead.of(model).eval(), sources


@pytest.mark.parametrize("name", DECODERS)
def test_a_batch_is_written_as_its_rows_without_a_cache(world, name):
    model, head, sources = world
    decoder, limits = DECODERS[name], torch.tensor([9, 5, 7, 6, 8])
    ids = torch.tensor([[*row, *[PAD] * (max(LENGTHS) - len(row))] for row in sources])
    layout = Padded(torch.tensor(LENGTHS), max(LENGTHS))
    with torch.inference_mode():
        steps = (
            TransformerStep(model, head, model.encode(ids, layout), layout),
            FreshStep(model, head, sources),
        )
        found, expected = (
            decoder(
                step, batch_size=len(ids), bos_id=BOS, eos_id=EOS, pad_id=PAD, max_length=limits
            )
            for step in steps
        )
    for one, other in zip(found, expected, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)
    assert len({tuple(one[0].tokens) for one in found}) > 1  # it depends on what was read


@pytest.mark.parametrize("name", DECODERS)
def test_batches_written_together_are_written_as_each_alone(world, name):
    """The second batch reads more than the first, the others less; each joins when it can."""
    model, head, sources = world
    decoder = DECODERS[name]
    batches = [[0, 4], [1, 2], [3], [4, 1, 1], [2]]

    def of(rows: list[int]) -> ToWrite:
        lengths = [LENGTHS[row] for row in rows]
        ids = [[*sources[row], *[PAD] * (max(lengths) - LENGTHS[row])] for row in rows]
        layout = Padded(torch.tensor(lengths), max(lengths))
        memory = model.encode(torch.tensor(ids), layout)
        limits = torch.tensor([9, 5, 7, 6, 8])[rows]
        return ToWrite(TransformerStep(model, head, memory, layout), limits)

    with torch.inference_mode():
        expected = [
            decoder(
                *(of(rows).step,),
                **{"batch_size": len(rows), "bos_id": BOS, "eos_id": EOS, "pad_id": PAD},
                max_length=of(rows).limits,
            )
            for rows in batches
        ]
        found = list(decoder.stream(map(of, batches), Ids(BOS, EOS, PAD)))
    assert len(found) == len(expected)
    for own, others in zip(found, expected, strict=True):
        assert [[h.tokens for h in one] for one in own] == [
            [h.tokens for h in one] for one in others
        ]
        for one, other in zip(own, others, strict=True):
            assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)


def test_the_beams_of_a_sentence_share_its_keys_and_values(world):
    model, head, sources = world
    ids = torch.tensor([row[:2] for row in sources])
    with torch.inference_mode():
        step = TransformerStep(model, head, model.encode(ids))
        step(torch.full((len(ids),), BOS))
        kept = step.cache.layers[0].cross_key
        step.reorder(torch.arange(len(ids)).repeat_interleave(3))
        assert step.cache.layers[0].cross_key is kept  # nothing moved, nothing repeated
        step.reorder(torch.tensor([5, 3, 3, 12, 14, 13]))  # three sentences have ended
        logits = step(torch.full((6,), BOS))
        assert step.cache.layers[0].cross_key.shape[0] == 2
        step.reorder(torch.tensor([0, 3, 4]))  # no longer as many for each
        again = step(torch.full((3,), BOS))
        assert step.cache.layers[0].cross_key.shape[0] == 3
        fresh = FreshStep(model, head, [row[:2] for row in (sources[1], sources[4], sources[4])])
        for _ in range(2):
            fresh(torch.full((3,), BOS))
        torch.testing.assert_close(again, fresh(torch.full((3,), BOS)), atol=1e-5, rtol=1e-4)
    assert logits.shape == (6, V)


def test_greedy_search_without_scores_writes_the_same(world):
    model, head, sources = world
    ids = torch.tensor([row[:2] for row in sources])
    with torch.inference_mode():
        scored, plain = (
            GreedyDecoder(max_length=7)(
                TransformerStep(model, head, model.encode(ids)),
                batch_size=len(ids),
                bos_id=BOS,
                eos_id=EOS,
                pad_id=PAD,
                with_scores=scores,
            )
            for scores in (True, False)
        )
    assert [one.tokens for (one,) in scored] == [one.tokens for (one,) in plain]
    assert {one.score for (one,) in plain} == {0.0}
