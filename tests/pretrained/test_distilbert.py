"""DistilBERT against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pretrained.family_parity import (
    V,
    change_tensors,
    check_hidden_states,
    check_label_head,
    check_masked_head,
    check_span_head,
    read,
)

from heed.errors import UserError

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"dim": 24, "n_heads": 3, "n_layers": 2, "activation": "gelu"},
    {"dim": 32, "n_heads": 2, "n_layers": 3, "activation": "relu", "sinusoidal_pos_embds": True},
]


def shaped(shape: int, **changes: Any) -> Any:
    return transformers.DistilBertConfig(
        **{"vocab_size": V, "hidden_dim": 41, "max_position_embeddings": 16},
        **SHAPES[shape],
        **changes,
    )


@pytest.mark.parametrize("shape", [0, 1])
def test_hidden_states(tmp_path: Path, shape: int) -> None:
    check_hidden_states(transformers.DistilBertModel(shaped(shape)), tmp_path)


def test_label_head(tmp_path: Path) -> None:
    model = transformers.DistilBertForSequenceClassification(shaped(0, num_labels=3))
    check_label_head(model, tmp_path, "pooled_relu")


@pytest.mark.parametrize("tied", [True, False])
def test_masked_head(tmp_path: Path, tied: bool) -> None:
    settings = shaped(0, tie_word_embeddings=tied)
    check_masked_head(transformers.DistilBertForMaskedLM(settings), tmp_path)


def test_span_head(tmp_path: Path) -> None:
    check_span_head(transformers.DistilBertForQuestionAnswering(shaped(1)), tmp_path)


def test_missing_and_extra_tensors_are_named(tmp_path: Path) -> None:
    transformers.DistilBertModel(shaped(0)).save_pretrained(tmp_path)

    def renamed(found: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("1.ffn.lin2", "1.ffn.lin3"): t for name, t in found.items()}

    change_tensors(tmp_path, renamed)
    with pytest.raises(UserError, match=r"lacks 2: transformer\.layer\.1\.ffn\.lin2\.weight") as e:
        read(tmp_path)
    assert "holds 2 more: transformer.layer.1.ffn.lin3.bias" in str(e.value)
