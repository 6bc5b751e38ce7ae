"""ModernBERT against transformers: windows in most layers, a rotary base for either kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.family_parity import (
    TOKEN_IDS,
    V,
    change_tensors,
    check_hidden_states,
    check_label_head,
    check_masked_head,
    close,
    randomized,
    read,
)

from heed.backbone.layout import Padded
from heed.commands.pretrained_model import fill_in
from heed.errors import UserError
from heed.pretrained.modernbert import config, values

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 4, "local_attention": 4},
    {
        **{"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3},
        **{"local_attention": 6, "global_attn_every_n_layers": 2},
        **{"global_rope_theta": 97.0, "local_rope_theta": 13.0, "hidden_activation": "silu"},
    },
]


def shaped(shape: int, **changes: Any) -> Any:
    return transformers.ModernBertConfig(
        **{
            **TOKEN_IDS,
            **{"cls_token_id": 3, "sep_token_id": 4, "vocab_size": V, "intermediate_size": 41},
            "max_position_embeddings": 300,
            **SHAPES[shape],
            **changes,
        }
    )


@pytest.mark.parametrize("shape", [0, 1])
def test_hidden_states(tmp_path: Path, shape: int) -> None:
    loaded = check_hidden_states(transformers.ModernBertModel(shaped(shape)), tmp_path)
    assert loaded.values["global_layers"] == ([0, 3] if shape == 0 else [0, 2])
    assert values(config(loaded.values)) == loaded.values


@torch.no_grad()
def test_rows_of_many_windows(tmp_path: Path) -> None:
    """Longer than the chunks in which windows are computed."""
    theirs = randomized(transformers.ModernBertModel(shaped(0, local_attention=32)))
    theirs.save_pretrained(tmp_path)
    layout = Padded(torch.tensor([150, 97]), 150)
    rows = torch.randint(5, V, (2, 150)).masked_fill(~layout.mask(), 0)
    expected = theirs(rows, attention_mask=layout.mask().long()).last_hidden_state
    found = read(tmp_path).backbone.features(rows, layout)
    close(found[layout.mask()], expected[layout.mask()])


@pytest.mark.parametrize(("pooling", "ours"), [("cls", "pooled_gelu"), ("mean", "mean_gelu")])
def test_label_head(tmp_path: Path, pooling: str, ours: str) -> None:
    settings = shaped(0, num_labels=3, classifier_pooling=pooling)
    model = transformers.ModernBertForSequenceClassification(settings)
    loaded = check_label_head(model, tmp_path, ours)
    again = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert again.classifier_pooling == pooling
    assert loaded.family.pooling_of(again.to_dict()) == ours


@pytest.mark.parametrize("tied", [True, False])
def test_masked_head(tmp_path: Path, tied: bool) -> None:
    settings = shaped(0, tie_word_embeddings=tied)
    check_masked_head(transformers.ModernBertForMaskedLM(settings), tmp_path)


def test_settings_of_older_files() -> None:
    settings = shaped(1).to_dict()
    expected = values(settings)
    del settings["layer_types"], settings["rope_parameters"]
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 97.0, "local_rope_theta": 13.0}
    assert values({**settings, **older}) == expected
    assert (expected["rotary_base"], expected["local_rotary_base"]) == (97.0, 13.0)
    one_base = values({**settings, **older, "local_rope_theta": None})
    assert one_base["local_rotary_base"] == 97.0


def test_the_first_layers_alone_keep_their_kinds(tmp_path: Path) -> None:
    transformers.ModernBertModel(shaped(0)).save_pretrained(tmp_path)
    model = {
        "_target_": "heed.backbone.transformer.Transformer",
        "pretrained": str(tmp_path),
        "n_layers": 2,
    }
    filled = fill_in({"model": model, "task": {"pooling": "auto"}})
    assert filled["model"]["global_layers"] == [0]
    assert filled["task"]["pooling"] == "pooled_gelu"


def test_no_windows_at_all(tmp_path: Path) -> None:
    settings = shaped(0, layer_types=4 * ["full_attention"])
    loaded = check_hidden_states(transformers.ModernBertModel(settings), tmp_path)
    assert loaded.values["attention"] == "scaled_dot_product"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm_bias": True}, "norm_bias=false"),
        ({"norm_eps": 1e-6}, "norm_eps=1e-05"),
        ({"attention_bias": True}, "attention_bias=false"),
        ({"hidden_activation": "relu"}, "hidden_activation=gelu or"),
        ({"local_attention": 1}, "local_attention=2 or more"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_type=default"),
    ],
)
def test_what_the_backbone_has_not_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        values({**shaped(0).to_dict(), **changes})


def test_a_norm_in_the_first_layer_is_named(tmp_path: Path) -> None:
    transformers.ModernBertModel(shaped(0)).save_pretrained(tmp_path)
    more = {"layers.0.attn_norm.weight": torch.ones(24)}
    change_tensors(tmp_path, lambda found: {**found, **more})
    with pytest.raises(UserError, match=r"holds 1 more: layers\.0\.attn_norm\.weight"):
        read(tmp_path)
