"""Llama and decoders of its build against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pretrained.family_parity import (
    TOKEN_IDS,
    V,
    change_tensors,
    check_hidden_states,
    check_label_head,
    check_logits,
    check_span_head,
    read,
)
from tests.pretrained.writing_parity import check_writing

from heed.errors import UserError
from heed.pretrained.llama import FAMILY, config, values

transformers = pytest.importorskip("transformers")

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 11,
}
BUILDS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped heads": ("Llama", {}),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0}}),
    "llama3": ("Llama", {"rope_parameters": {"rope_theta": 97.0, **LLAMA3}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, window": ("Mistral", {"sliding_window": 3, "num_hidden_layers": 2}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 10}),
}


def shaped(build: str, **changes: Any) -> tuple[str, Any]:
    """The beginning of its classes' names, and a config."""
    name, more = BUILDS[build]
    sizes: dict[str, Any] = {
        **TOKEN_IDS,
        "vocab_size": V,
        "hidden_size": 24,
        "intermediate_size": 41,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    }
    return name, getattr(transformers, f"{name}Config")(**{**sizes, **more, **changes})


def made(build: str, kind: str, **changes: Any) -> Any:
    name, settings = shaped(build, **changes)
    return getattr(transformers, f"{name}{kind}")(settings)


@pytest.mark.parametrize("build", BUILDS)
def test_logits(tmp_path: Path, build: str) -> None:
    name, settings = shaped(build)
    loaded = check_logits(made(build, "ForCausalLM"), tmp_path)
    written = config(loaded.values)
    plain = build == "mistral"  # without a window it is a Llama
    assert written["model_type"] == ("llama" if plain else name.lower())
    same = ("use_sliding_window", "layer_types", "tie_word_embeddings", "num_key_value_heads")
    theirs = settings.to_dict()
    assert {key: theirs[key] for key in same if key in written} == {
        key: written[key] for key in same if key in written
    }
    assert values(written) == loaded.values


def test_hidden_states_of_one_group_of_heads_as_wide_as_they_like(tmp_path: Path) -> None:
    shape = {"num_key_value_heads": 1, "num_attention_heads": 3, "hidden_size": 30, "head_dim": 8}
    check_hidden_states(made("grouped heads", "Model", **shape), tmp_path)


def test_label_head(tmp_path: Path) -> None:
    model = made("grouped heads", "ForSequenceClassification", num_labels=3)
    check_label_head(model, tmp_path, "last_unbiased")


@pytest.mark.parametrize("build", ["grouped heads", "mistral, window"])
def test_span_head(tmp_path: Path, build: str) -> None:
    """LlamaForQuestionAnswering calls the bare model another name, Mistral's the usual one."""
    check_span_head(made(build, "ForQuestionAnswering"), tmp_path)


@pytest.mark.parametrize("build", ["grouped heads", "mistral, window"])
def test_texts(tmp_path: Path, build: str) -> None:
    check_writing(made(build, "ForCausalLM"), tmp_path, seed=1)


def test_settings_of_older_files() -> None:
    settings = {**shaped("llama3")[1].to_dict(), "rope_theta": 97.0}
    expected = values(settings)
    scaling = {"type" if key == "rope_type" else key: value for key, value in LLAMA3.items()}
    del settings["rope_parameters"]
    found = values({**settings, "rope_scaling": scaling})
    assert found == expected
    assert found["rotary_base"] == 97.0
    assert found["rotary_scaling"] == "llama3"


@pytest.mark.parametrize(
    ("build", "changes", "words"),
    [
        ("grouped heads", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_scaling="),
        (
            "grouped heads",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "but has 'dynamic'",
        ),
        ("grouped heads", {"rope_scaling": {**LLAMA3, "low_freq_factor": 2.0}}, "low_freq_factor"),
        ("grouped heads", {"rope_scaling": {"type": "linear"}}, r"number as rope_scaling\.factor"),
        ("grouped heads", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=1.0"),
        ("grouped heads", {"attention_bias": True}, r"attention_bias=mlp_bias \(false\)"),
        ("grouped heads", {"hidden_act": "relu2"}, "hidden_act=silu"),
        ("mistral", {"sliding_window": 1}, "sliding_window=2 or more"),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types=null"),
        ("qwen3", {"attention_bias": True}, "attention_bias=false"),
    ],
)
def test_what_the_backbone_has_not_is_refused(
    build: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        values({**shaped(build)[1].to_dict(), **changes})


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    made("grouped heads", "ForCausalLM").save_pretrained(tmp_path)
    key, norm = "model.layers.1.self_attn.k_proj.weight", "model.norm.weight"
    change_tensors(
        tmp_path,
        lambda found: {
            name: tensor[:4].contiguous() if name == key else tensor
            for name, tensor in found.items()
            if name != norm
        },
    )
    with pytest.raises(UserError, match=r"lacks 1: norm\.weight") as raised:
        read(tmp_path)
    assert "layers.1.self_attn.k_proj.weight is (4, 24)" in str(raised.value)


@pytest.mark.parametrize(
    ("build", "changes", "rows"),
    [
        ("grouped heads", {}, ["bos", "A"]),
        ("mistral", {}, ["bos", "A"]),
        ("grouped heads", {"bos_token_id": 2}, ["A"]),  # SmolLM2
        ("qwen2", {}, ["A"]),
    ],
)
def test_how_a_text_begins(build: str, changes: dict[str, Any], rows: list[str]) -> None:
    settings = {**shaped(build)[1].to_dict(), **changes}
    assert FAMILY.template_of(settings)["text"] == rows
