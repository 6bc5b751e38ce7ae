"""Sentences written in slots, against the searches whose rows leave.

Everything but the capture runs on a CPU too; on a GPU `benchmarks/gpu_decoding.py` compares.

Legend: B sentences, S source length, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch, Tokens
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder
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


@pytest.fixture
def plain():
    torch.manual_seed(4)
    sizes = {"vocabulary_size": V, "d_model": 24, "n_heads": 4, "d_feed_forward": 23, "n_layers": 1}

    def make(**values: Any) -> tuple[Transformer, VocabularyHead]:
        backbone = Transformer(**{"shape": "encoder_decoder", **sizes, **values}).eval()
        return backbone, VocabularyHead.of(backbone).eval()

    return make


@pytest.mark.parametrize(
    "values",
    [
        {"shape": "decoder"},
        {"positions": "relative"},
        {"positions": "alibi"},
        {"attention": "additive"},
        {"attention": "windowed", "window": 3},
        {"attention_soft_cap": 5.0},
    ],
)
def test_models_that_slots_cannot_do_are_left_to_others(plain, values):
    assert SlotWriter(*plain()).takes(GreedyDecoder())
    assert not SlotWriter(*plain(**values)).takes(GreedyDecoder())


def test_what_else_is_left_to_others(plain, monkeypatch):
    backbone, head = plain()
    writer = SlotWriter(backbone, head)
    assert not writer.takes(SamplingDecoder())
    assert not writer.takes(BeamDecoder(beam_size=V // 2 + 1))
    assert writer.takes(BeamDecoder(beam_size=V // 2))
    watched = backbone.decoder.layers[0].register_forward_hook(lambda *given: None)
    assert not writer.takes(GreedyDecoder())
    watched.remove()
    assert writer.takes(GreedyDecoder())
    monkeypatch.setattr(slot_writer, "DEVICES", ["cuda"])
    assert not writer.takes(GreedyDecoder())


def test_batches_without_room_are_written_otherwise_in_their_order(plain):
    model = plain(positions="learned", max_length=9)
    decoder = GreedyDecoder(max_length=20, max_length_ratio=2.0)
    batches = batches_of([[3, 4], [5, 2], [1], [2, 6, 4], [4]], seed=7)  # twice above 9
    alone: list[int] = []

    def otherwise(batch: PairBatch) -> Any:
        alone.append([one is batch for one in batches].index(True))
        return [[("alone", len(batch))]]

    with torch.inference_mode():
        found = list(SlotWriter(*model).write(iter(batches), decoder, IDS, otherwise=otherwise))
    assert alone == [1, 3]
    for number in (0, 2, 4):
        assert_same([found[number]], [stepwise(model, batches[number], decoder)])


def test_pools_that_are_kept_make_room_before_anything_is_left_to_others(plain, monkeypatch):
    writer, (batch,) = SlotWriter(*plain()), batches_of([[3, 4]], seed=7)
    free = [math.inf]
    monkeypatch.setattr(slot_writer, "free_bytes", lambda head: free[0])

    def written(limit: int) -> Any:
        decoder = GreedyDecoder(max_length=limit)
        (found,) = writer.write([batch], decoder, IDS, otherwise=lambda batch: "alone")
        return found

    with torch.inference_mode():
        assert written(5) != "alone"
        free[0] = 1000.0
        assert written(5) != "alone"  # in the pool that there is
        assert len(writer._pools) == 1
        assert written(99) == "alone"
        assert not writer._pools


def test_a_pool_takes_the_weights_as_they_are(plain):
    backbone, head = model = plain(tie_embeddings="none")
    (batch,), decoder = batches_of([[4, 7]], seed=3), GreedyDecoder(max_length=7)
    writer = SlotWriter(*model)
    seen = []
    for _ in range(3):
        with torch.inference_mode():
            (found,) = writer.write([batch], decoder, IDS, otherwise=never)
        assert_same([found], [stepwise(model, batch, decoder)])
        seen.append([one[0].tokens for one in found])
        assert len(writer._pools) == 1
        with torch.no_grad():
            for weight in (*backbone.parameters(), *head.parameters()):
                weight.add_(torch.randn_like(weight))
    assert len({str(tokens) for tokens in seen}) == 3
    writer.forget()
    assert not writer._pools


def test_a_pool_in_use_is_nobody_elses(plain):
    model, decoder = plain(tie_embeddings="none"), GreedyDecoder(max_length_ratio=3.0)
    writer, batches = SlotWriter(*model), batches_of([[1, 2], [5, 2]], seed=7)
    with torch.inference_mode():
        list(writer.write(iter(batches), decoder, IDS, otherwise=never))  # a pool is made and kept
        stream = writer.write(iter(batches), decoder, IDS, otherwise=never)
        first = next(stream)
        (between,) = writer.write([batches[1]], decoder, IDS, otherwise=never)
        second = next(stream)
    expected = [stepwise(model, batch, decoder) for batch in batches]
    assert_same([first, second, between], [*expected, expected[1]])


def test_a_copy_of_a_model_has_pools_of_its_own(plain):
    model, decoder = plain(), GreedyDecoder(max_length=5)
    writer, (batch,) = SlotWriter(*model), batches_of([[3, 4]], seed=7)
    with torch.inference_mode():
        list(writer.write([batch], decoder, IDS, otherwise=never))
    twin = copy.deepcopy(writer)
    assert len(writer._pools) == 1
    assert not twin._pools
    assert twin.backbone is not writer.backbone


def test_what_cannot_be_captured_is_launched_step_by_step(plain, monkeypatch):
    def fail(*given: Any, **values: Any) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(slot_writer, "SlotPool", fail)
    writer, (batch,) = SlotWriter(*plain()), batches_of([[3, 4]], seed=7)
    with pytest.warns(UserWarning, match="cannot be captured as a CUDA graph here.*no such device"):
        found = list(writer.write([batch], GreedyDecoder(), IDS, otherwise=lambda batch: "alone"))
    assert found == ["alone"]
    assert not writer.takes(GreedyDecoder())


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
def test_tasks_write_the_same_in_slots(make, monkeypatch, decoding):
    case = make("translation", f"decoding={decoding}")
    task, batch = case.task.eval(), case.batch
    used: list[int] = []
    monkeypatch.setattr(SlotWriter, "write", counted(SlotWriter.write, used))
    with torch.no_grad():
        in_slots = task.predict_batch(batch, stage="test"), *task.predict_batches([batch, batch])
        assert len(used) == 2
        task.on_validation_end()
        assert not task._slots._pools
        monkeypatch.setattr(slot_writer, "DEVICES", [])
        elsewhere = task.predict_batch(batch, stage="test"), *task.predict_batches([batch, batch])
    assert len(used) == 2
    assert in_slots == elsewhere


def counted(function: Any, calls: list[int]) -> Any:
    def call(*given: Any, **values: Any) -> Any:
        calls.append(1)
        return function(*given, **values)

    return call
