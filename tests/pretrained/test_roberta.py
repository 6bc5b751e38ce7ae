"""RoBERTa against transformers: its positions begin two later, its heads are its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.family_parity import (
    V,
    change_tensors,
    check_hidden_states,
    check_label_head,
    check_masked_head,
    check_span_head,
    ids,
    randomized,
    read,
)

from heed.errors import UserError
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.roberta import FAMILY, values
from heed.pretrained.tokenizer import pretrained_tokenizers

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "type_vocab_size": 1},
    {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "type_vocab_size": 2},
]
SIZES: dict[str, Any] = {
    "vocab_size": V,
    "intermediate_size": 40,
    "max_position_embeddings": 18,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states(tmp_path: Path, shape: dict[str, Any]) -> None:
    config = transformers.RobertaConfig(**SIZES, **shape)
    model = transformers.RobertaModel(config, add_pooling_layer=False)
    loaded = check_hidden_states(model, tmp_path, pad=1)
    assert loaded.values["max_length"] == 16


def test_label_head(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(**SIZES, **SHAPES[0], num_labels=3)
    model = transformers.RobertaForSequenceClassification(config)
    check_label_head(model, tmp_path, "pooled", pad=1)


@pytest.mark.parametrize("tied", [True, False])
def test_masked_head(tmp_path: Path, tied: bool) -> None:
    settings = transformers.RobertaConfig(**SIZES, **SHAPES[0], tie_word_embeddings=tied)
    check_masked_head(transformers.RobertaForMaskedLM(settings), tmp_path, pad=1)


def test_span_head(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(**SIZES, **SHAPES[1])
    check_span_head(transformers.RobertaForQuestionAnswering(config), tmp_path, pad=1)


def test_another_padding_is_refused() -> None:
    config = transformers.RobertaConfig(**{**SIZES, "pad_token_id": 0}, **SHAPES[0])
    with pytest.raises(UserError, match=r"pad_token_id=1 .*, but has 0"):
        values(config.to_dict())


def test_berts_tensors_are_refused(tmp_path: Path) -> None:
    """A config that says roberta over another family's weights."""
    config = transformers.RobertaConfig(**SIZES, **SHAPES[0])
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    other = transformers.DistilBertConfig(dim=24, n_heads=3, n_layers=2, hidden_dim=40)
    weights = transformers.DistilBertModel(other).state_dict()
    change_tensors(tmp_path, lambda _: {n: t.contiguous() for n, t in weights.items()})
    with pytest.raises(UserError, match=r"lacks 3\d: .*token_type_embeddings") as raised:
        read(tmp_path)
    assert "must hold what a roberta is made of" in str(raised.value)


def test_rows_are_those_of_the_makers(tmp_path: Path) -> None:
    """From a vocab.json and a merges.txt, as older checkpoints have them."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    texts = ["Who played the king?", "It was a dull film, and long.", "a king was dull"]
    trained.train_from_iterator(texts, vocab_size=280, special_tokens=special)
    trained.save_model(str(tmp_path))
    theirs = transformers.RobertaTokenizer.from_pretrained(tmp_path)
    config = transformers.RobertaConfig(**{**SIZES, "vocab_size": 280}, **SHAPES[0])
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    ours = pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY).source
    around = ours.around["pair"]
    first, second = ours.encode(texts[:2])
    row = [*around.before, *first, *around.between, *second, *around.after]
    assert row == theirs(texts[0], texts[1])["input_ids"]
    assert ours.decode([row]) == ["".join(texts[:2])]
    assert ours.pad_id == 1


def test_segments_beyond_the_table_are_the_last(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(**SIZES, **SHAPES[0])
    randomized(transformers.RobertaModel(config)).save_pretrained(tmp_path)
    loaded, rows = read(tmp_path), ids(1)
    segments = torch.ones_like(rows)
    with torch.no_grad():
        found = loaded.backbone.encode(rows, segments=segments)
        assert torch.equal(found, loaded.backbone.encode(rows))
