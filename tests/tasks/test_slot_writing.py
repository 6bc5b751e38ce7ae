"""Sentences written in slots, against the searches whose rows leave.

Everything but the capture runs on a CPU too; on a GPU `benchmarks/gpu_decoding.py` compares.

Legend: B sentences, S source length, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch, Tokens
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids
from heed.decoding.greedy import GreedyDecoder
from heed.heads.vocabulary import VocabularyHead
from heed.tasks import slot_writer
from heed.tasks.slot_writer import SlotWriter
from heed.tasks.writers import TransformerStep

V, IDS = 41, Ids(bos=1, eos=2, pad=0)
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"tie_embeddings": "inputs"},
    "post": {
        "norm_position": "post",
        "positions": "learned",
        "max_length": 23,
        "tie_embeddings": "none",
    },
    "rotary": {"positions": "rotary", "n_kv_heads": 2, "qk_norm": True, "norm": "rms_norm"},
    "narrow": {
        "head_width": 5,
        "tie_embeddings": "none",
        "logit_bias": True,
        "n_decoder_layers": 1,
    },
}
DECODERS: dict[str, Decoder] = {
    "greedy": GreedyDecoder(max_length=17),
    "greedy, ratio": GreedyDecoder(max_length=17, max_length_ratio=1.5, max_length_extra=1),
    "greedy, minimum": GreedyDecoder(max_length=13, min_length=4),
    "greedy, one token": GreedyDecoder(max_length=1),
    "beam 1": BeamDecoder(beam_size=1, max_length=11),
    "beam 2": BeamDecoder(beam_size=2, length_penalty=0.0, max_length=11),
    "beam 3, one token": BeamDecoder(beam_size=3, n_best=3, max_length=1),
    "beam 4": BeamDecoder(beam_size=4, max_length=19, early_stopping=True),
    "beam 5": BeamDecoder(
        beam_size=5, n_best=3, length_penalty=0.6, min_length=3, max_length_ratio=2.0, max_length=19
    ),
    "beam 8": BeamDecoder(beam_size=8, n_best=2, length_penalty=-0.7, max_length=13),
    "beam 7": BeamDecoder(
        beam_size=7, n_best=7, length_penalty=1.4, max_length=13, early_stopping=True
    ),
}
BATCHES = [[7, 3, 5, 7, 2], [1], [4, 4, 9], [6, 2, 2, 8, 1, 3, 3], [3, 5]]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(slot_writer, "DEVICES", ["cpu"])


def batches_of(sizes: list[list[int]], seed: int) -> list[PairBatch]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for lengths in sizes:
        ids = torch.randint(3, V, (len(lengths), max(lengths)), generator=generator)
        layout = Padded(torch.tensor(lengths), max(lengths))
        tokens = Tokens(ids.masked_fill(~layout.mask(), IDS.pad), layout)
        found.append(PairBatch(tokens, None, indices=list(range(len(lengths))), records=None))
    return found


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(4)
    backbone = Transformer(
        shape="encoder_decoder",
        vocabulary_size=V,
        d_model=24,
        n_heads=4,
        d_feed_forward=23,
        n_layers=2,
        **MODELS[request.param],
    ).eval()
    for weight in backbone.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.4)
    for layer in backbone.decoder.layers:  # else the newest token alone decides, and is repeated
        parts = (layer.self_attention, layer.cross_attention.output, layer.feed_forward)
        for weight in (weight for part in parts for weight in part.parameters()):
            torch.nn.init.normal_(weight, std=2.0)
    head = VocabularyHead.of(backbone).eval()
    torch.nn.init.normal_(head.output.weight, std=0.3)
    return backbone, head


def stepwise(model: tuple[Transformer, VocabularyHead], batch: PairBatch, decoder: Decoder):
    backbone, head = model
    source = batch.source
    with torch.inference_mode():
        memory = backbone.encode(source.ids, source.layout)
        return decoder(
            TransformerStep(backbone, head, memory, source.layout),
            batch_size=len(batch),
            **{"bos_id": IDS.bos, "eos_id": IDS.eos, "pad_id": IDS.pad},
            max_length=decoder.max_lengths(source.layout.lengths),
        )


def never(batch: PairBatch) -> Any:
    raise AssertionError("there is room for all of them")


def assert_same(found: Any, expected: Any) -> None:
    """The same but for the order of hypotheses whose scores are equal."""
    for own, others in zip(found, expected, strict=True):
        for one, other in zip(own, others, strict=True):
            scores = [h.score for h in other]
            assert [h.score for h in one] == pytest.approx(scores, abs=1e-4, rel=1e-5)
            clear = [
                all(
                    abs(score - near) > 1e-3 for near in scores[max(0, i - 1) : i] + scores[i + 1 :]
                )
                and (i == 0 or i + 1 < len(scores))  # the last may be equal to the first left out
                for i, score in enumerate(scores)
            ]
            assert [h.tokens for h, told in zip(one, clear, strict=True) if told] == [
                h.tokens for h, told in zip(other, clear, strict=True) if told
            ]


@pytest.mark.parametrize("name", DECODERS)
def test_batches_are_written_as_each_alone_by_rows_that_leave(model, name):
    decoder, batches = DECODERS[name], batches_of(BATCHES, seed=5)
    writer = SlotWriter(*model)
    assert writer.takes(decoder)
    expected = [stepwise(model, batch, decoder) for batch in batches]
    with torch.inference_mode():
        found = list(writer.write(iter(batches), decoder, IDS, otherwise=never))
        one_by_one = [
            hypotheses
            for batch in batches
            for hypotheses in writer.write([batch], decoder, IDS, otherwise=never)
        ]
    assert_same(found, expected)
    assert_same(one_by_one, expected)
    assert len({tuple(one[0].tokens) for batch in found for one in batch}) > 1
