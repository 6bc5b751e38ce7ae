"""Encoder-decoders as CTranslate2 models: the same texts, token for token."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.commands.compose import compose
from heed.errors import RunFailed, UserError
from heed.exporting import ctranslate
from heed.exporting.ctranslate_check import Normalized
from heed.exporting.expressible import ctranslate2_faults
from heed.exporting.subject import Subject

pytest.importorskip("ctranslate2")

Make = Callable[..., Subject]


@pytest.mark.parametrize(
    "words",
    [
        ["model.norm_position=pre"],
        ["model.norm_position=post", "model.activation=gelu", "+model.embedding_norm=true"],
        ["model.positions=rotary", "model.norm=rms_norm", "model.activation=swiglu"],
        ["model.positions=rotary", "+model.rotary_base=500", "model.n_kv_heads=1"],
        ["model.positions=learned", "model.activation=geglu_tanh", "model.tie_embeddings=none"],
        ["model.positions=relative", "model.norm_position=post", "+model.norm_epsilon=0.01"],
        ["model.bias=false", "model.activation=gelu_tanh", "+model.logit_soft_cap=500"],
        ["+model.head_width=6", "model.n_decoder_layers=1"],
        ["model.positions=sinusoidal_halves", "model.activation=silu", "+model.logit_bias=true"],
        ["model.tie_embeddings=inputs", "+model.logit_scale=0.25"],
        ["tokenizer.joint=false", "model.tie_embeddings=decoder"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_engine_writes_what_the_model_does(
    words: list[str], make_subject: Make, tmp_path: Path
) -> None:
    subject = make_subject("translation", *words)
    assert ctranslate2_faults(subject.config) == []
    written = ctranslate.write(subject, tmp_path)
    assert 0.0 < written.largest_difference < 5e-5
    assert dict(written.agreement) == {"greedy": (7, 7), "beam 5": (7, 7)}


def test_a_wrong_weight_is_seen(
    make_subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("translation", "model.activation=swiglu")
    feed_forward = subject.task.backbone.encoder.layers[0].feed_forward
    right = ctranslate._fill_feed_forward

    def swapped(spec: Any, network: Any) -> None:  # the value first, then the gate
        right(spec, network)
        if network is feed_forward:
            gate, value = spec.linear_0, spec.linear_0_noact
            gate.weight, value.weight = value.weight, gate.weight

    monkeypatch.setattr(ctranslate, "_fill_feed_forward", swapped)
    with pytest.raises(RunFailed, match="must compute what the model does, but differs by"):
        ctranslate.write(subject, tmp_path)


def test_quantizing_leaves_the_model_alone(make_subject: Make, tmp_path: Path) -> None:
    subject = make_subject("translation", "model.positions=rotary", quantization="int8")
    before = copy.deepcopy(subject.task.state_dict())
    written = ctranslate.write(subject, tmp_path)
    assert set(written.agreement) == {"greedy", "beam 5", "greedy, int8", "beam 5, int8"}
    assert written.agreement["greedy, int8"][1] == 7
    after = subject.task.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert '"quantization": ' not in (tmp_path / "config.json").read_text()
    whole = tmp_path / "whole"
    whole.mkdir()
    ctranslate.save(subject, whole, None)
    sizes = [(folder / "model.bin").stat().st_size for folder in (tmp_path, whole)]
    assert sizes[0] < 0.8 * sizes[1]


def test_an_unknown_quantization_is_named(make_subject: Make, tmp_path: Path) -> None:
    subject = make_subject("translation", quantization="int9")
    with pytest.raises(UserError, match="quantization must be one of int8.*but is 'int9'"):
        ctranslate.write(subject, tmp_path)


def test_the_engines_definition_of_a_score(make_subject: Make) -> None:
    """A forbidden token has no share of the probability, and eos none before its time."""
    step = Normalized(lambda tokens: torch.zeros(1, 5), never=[0, 3], eos_id=1, min_length=1)
    first, second = step(torch.tensor([2])).softmax(-1), step(torch.tensor([2])).softmax(-1)
    assert first.tolist() == [[0.0, 0.0, 0.5, 0.0, 0.5]]
    assert torch.allclose(second, torch.tensor([[0.0, 1 / 3, 1 / 3, 0.0, 1 / 3]]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.positions=alibi"], "format=ctranslate2 needs model.positions to be sinusoidal"),
        (["model.norm_position=sandwich"], "model.norm_position to be pre or post, but the run"),
        (["model.attention=additive"], "model.attention to be scaled_dot_product"),
        (["model.attention=windowed", "model.window=9"], "but the run has windowed"),
        (["+model.qk_norm=true"], "format=safetensors keeps any model"),
        (["+model.attention_soft_cap=5"], "model.attention_soft_cap to be None"),
    ],
)
def test_what_the_engine_lacks_is_named(words: list[str], told: str) -> None:
    config = compose("train", ["task=translation", *words])
    (fault,) = ctranslate2_faults(config)
    assert told in str(fault)


def test_it_is_for_models_that_write(make_subject: Make) -> None:
    (fault,) = ctranslate2_faults(compose("train", ["task=sentiment"]))
    assert "is for encoder-decoders that write text" in str(fault)
    assert "format=onnx" in fault.remedy


def test_rows_without_a_token_get_a_name(make_subject: Make) -> None:
    tokenizer = make_subject("translation").tokenizers.source
    names = ctranslate.vocabulary(tokenizer, 303)
    assert names[-3:] == ["<unused_300>", "<unused_301>", "<unused_302>"]
    assert [tokenizer.backend.token_to_id(name) for name in names[:300]] == list(range(300))
