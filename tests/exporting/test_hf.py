"""Folders that transformers' Auto classes load: the same logits, rows and labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.backbone.values import complete
from heed.commands.compose import compose
from heed.commands.signatures import defaults_of
from heed.errors import RunFailed, UserError
from heed.exporting import hf
from heed.exporting.expressible import hf_faults
from heed.exporting.hf_check import check_by_ourselves
from heed.exporting.hf_config import values_of
from heed.exporting.subject import Subject
from heed.pretrained.families import family_named
from heed.pretrained.matching import differences, match

Make = Callable[..., Subject]
BERT = [
    *("model.norm_position=post", "+model.embedding_norm=true", "model.positions=learned"),
    *("model.activation=gelu", "model.max_length=97", "+model.norm_epsilon=1e-12"),
]
LABELS, SPANS = "task.pooling=pooled", "task.preparation.max_length=97"


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


DEFAULTS = defaults_of("heed.backbone.transformer.Transformer", "model")


def faults(*words: str) -> list[str]:
    config = compose("train", list(words))
    return [str(fault) for fault in hf_faults(config, DEFAULTS)]


def test_labels_and_their_names(make_subject: Make, tmp_path: Path, transformers: Any) -> None:
    subject = make_subject("sentiment", *BERT, LABELS, "task.preparation.max_length=97")
    written = hf.write(subject, tmp_path)
    assert written.compared == "logits of transformers' BertForSequenceClassification"
    assert written.largest_difference < 1e-5
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.layer_norm_eps == 1e-12
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.pad_token_id == subject.tokenizers.source.pad_id
    assert tokenizer.model_max_length == 97
    rows = tokenizer(["It was a fine day.", "No."], padding=True, return_tensors="pt")
    alone = tokenizer("No.", return_tensors="pt")
    with torch.no_grad():
        both, one = model(**rows).logits, model(**alone).logits
    assert torch.allclose(both[1:], one, atol=1e-5)


@pytest.mark.parametrize("segments", [0, 2])
def test_spans_and_the_types_of_tokens(
    segments: int, make_subject: Make, tmp_path: Path, transformers: Any
) -> None:
    """A model without segments gets two of zeros, since the tokenizer tells two texts apart."""
    words = ["model.max_length=512", f"+model.n_segments={segments}"]
    subject = make_subject("qa", *BERT[:4], *words)
    written = hf.write(subject, tmp_path)
    assert written.facts["architecture"] == "BertForQuestionAnswering"
    assert written.largest_difference < 1e-5
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    types = tokenizer("Who paints?", "Ann does.")["token_type_ids"]
    assert types == sorted(types)
    assert set(types) == {0, 1}
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["type_vocab_size"] == 2


@pytest.mark.parametrize(
    ("task", "words", "architecture"),
    [
        (
            "sentiment",
            [
                *("model.norm_position=pre", "model.positions=learned"),
                *("model.activation=gelu_tanh", "task.pooling=last_unbiased"),
            ],
            "GPT2ForSequenceClassification",
        ),
        (
            "qa",
            [
                *("model.norm_position=pre", "model.positions=rotary", "model.norm=rms_norm"),
                *("model.activation=swiglu", "model.bias=false", "model.n_kv_heads=1"),
            ],
            "LlamaForQuestionAnswering",
        ),
    ],
)
def test_decoders(
    task: str,
    words: list[str],
    architecture: str,
    make_subject: Make,
    tmp_path: Path,
    transformers: Any,
) -> None:
    subject = make_subject(task, "model.shape=decoder", "model.max_length=512", *words)
    assert hf_faults(subject.config, DEFAULTS) == []
    written = hf.write(subject, tmp_path)
    assert written.facts["architecture"] == architecture
    assert written.largest_difference < 1e-5


@pytest.mark.parametrize(
    ("task", "words", "architecture"),
    [
        ("masked_lm", [*BERT[:4], "model.max_length=512"], "BertForMaskedLM"),
        (
            "causal_lm",
            ["model.positions=learned", "model.activation=gelu_tanh", "model.max_length=512"],
            "GPT2LMHeadModel",
        ),
    ],
)
def test_language_models(
    task: str,
    words: list[str],
    architecture: str,
    make_subject: Make,
    tmp_path: Path,
    transformers: Any,
) -> None:
    subject = make_subject(task, *words)
    assert hf_faults(subject.config, DEFAULTS) == []
    written = hf.write(subject, tmp_path)
    assert written.facts["architecture"] == architecture
    assert written.largest_difference < 1e-5
    if task == "causal_lm":
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
        row = tokenizer("It was")["input_ids"]
        assert row[0] == tokenizer.bos_token_id
        assert tokenizer.eos_token_id not in row, "it is to be gone on with"


def test_a_wrong_tensor_is_seen(
    make_subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transformers: Any
) -> None:
    subject = make_subject("qa", *BERT[:4], "model.max_length=512", "+model.n_segments=2")
    tensors = hf.tensors

    def swapped(*given: Any) -> dict[str, torch.Tensor]:
        found = tensors(*given)
        query, key = (
            f"bert.encoder.layer.0.attention.self.{part}.bias" for part in ("query", "key")
        )
        found[query], found[key] = found[key], found[query]
        return found

    monkeypatch.setattr(hf, "tensors", swapped)
    with pytest.raises(RunFailed, match="the folder must compute what the model does"):
        hf.write(subject, tmp_path)


def test_without_transformers_heed_reads_the_folder(
    make_subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("sentiment", *BERT, LABELS, "task.preparation.max_length=97")
    monkeypatch.setattr(hf.importlib.util, "find_spec", lambda name: None)
    written = hf.write(subject, tmp_path)
    assert "read back by Heed (transformers is not installed)" in written.compared
    assert written.largest_difference == 0.0
    subject.task.backbone.encoder.layers[1].feed_forward.output.bias.data[0] += 0.5
    values, defaults = values_of(subject)
    family, values_there = match(values, defaults, family=None)
    assert check_by_ourselves(subject, tmp_path, family, values_there) > 1e-4


@pytest.mark.parametrize(
    ("task", "words", "wrong"),
    [
        ("masked_lm", BERT[:4], "cls.predictions.transform.dense.bias"),
        (
            "causal_lm",
            ["model.positions=learned", "model.activation=gelu_tanh"],
            "transformer.wte.weight",
        ),
        (
            "causal_lm",
            [
                *("model.positions=rotary", "model.norm=rms_norm", "model.activation=swiglu"),
                *("model.bias=false", "model.tie_embeddings=none"),
            ],
            "lm_head.weight",
        ),
    ],
    ids=["masked", "tied", "untied"],
)
def test_heads_over_a_table_are_read_back_too(
    task: str,
    words: list[str],
    wrong: str,
    make_subject: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = make_subject(task, *words, "model.max_length=512")
    monkeypatch.setattr(hf.importlib.util, "find_spec", lambda name: None)
    assert hf.write(subject, tmp_path).largest_difference == 0.0
    tensors = hf.tensors

    def changed(*given: Any) -> dict[str, torch.Tensor]:
        found = tensors(*given)
        return {**found, wrong: found[wrong] + 0.5 * torch.randn(found[wrong].shape)}

    monkeypatch.setattr(hf, "tensors", changed)
    with pytest.raises(RunFailed, match="the folder must compute what the model does"):
        hf.write(subject, tmp_path)


def test_every_difference_from_a_family_counts() -> None:
    config = compose("train", ["task=sentiment", *BERT])
    defaults = DEFAULTS
    values = {"vocabulary_size": 300, **defaults}
    values.update({key: config["model"][key] for key in defaults if key in config["model"]})
    values.update(shape="encoder", n_segments=2)
    values = complete(values)
    bert = family_named("bert")
    assert differences(bert, values, defaults) == []
    for key, value in (
        ("qk_norm", True),
        ("norm", "rms_norm"),
        ("n_kv_heads", 1),
        ("head_width", 3),
        ("bias", False),
        ("scale_embeddings", True),
        ("attention_soft_cap", 3.0),
        ("activation", "swiglu"),
    ):
        assert differences(bert, {**values, key: value}, defaults), key
    assert differences(bert, {**values, "dropout": 0.5, "kernel": "sdpa"}, defaults) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=sentiment"], "the nearest to the run's"),
        (["task=sentiment", *BERT[1:], LABELS], "differs: model.norm_position is pre, not post;"),
        (
            ["task=sentiment", *BERT, "task.pooling=mean"],
            "task.pooling must be pooled for a bert that labels texts",
        ),
        (["task=translation", "model.positions=alibi"], "format=safetensors keeps any model"),
    ],
)
def test_what_no_family_has_is_named(words: list[str], told: str) -> None:
    (fault,) = faults(*words)
    assert told in fault


def test_a_model_of_a_family_has_no_faults() -> None:
    assert faults("task=sentiment", *BERT, LABELS) == []
    assert faults("task=qa", *BERT) == []


def test_a_tensor_without_a_place_is_named(make_subject: Make) -> None:
    subject = make_subject("qa", *BERT[:4], "model.max_length=512")
    subject.task.head.extra = torch.nn.Linear(2, 2)
    values, defaults = values_of(subject)
    family, values_there = match(values, defaults, family="bert")
    with pytest.raises(UserError, match=r"no place in BertForQuestionAnswering for extra.weight"):
        hf.tensors(subject, family, values_there, "span")
