"""GPT-2 against transformers: matrices the other way round, a head without biases, texts."""

from __future__ import annotations

import json
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
    check_logits,
    check_span_head,
    read,
)
from tests.pretrained.writing_parity import check_writing

from heed.commands.pretrained_model import fill_in
from heed.errors import UserError
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.gpt2 import FAMILY, values
from heed.pretrained.tokenizer import pretrained_tokenizers

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"n_embd": 24, "n_head": 3, "n_layer": 2, "n_inner": None, "activation_function": "gelu_new"},
    {"n_embd": 32, "n_head": 2, "n_layer": 3, "n_inner": 41, "activation_function": "relu"},
]


def shaped(shape: int, **changes: Any) -> Any:
    return transformers.GPT2Config(
        **{**TOKEN_IDS, "vocab_size": V, "n_positions": 16, **SHAPES[shape], **changes}
    )


@pytest.mark.parametrize("shape", [0, 1])
def test_hidden_states(tmp_path: Path, shape: int) -> None:
    check_hidden_states(transformers.GPT2Model(shaped(shape)), tmp_path)


@pytest.mark.parametrize(("shape", "tied"), [(0, True), (1, False)])
def test_logits(tmp_path: Path, shape: int, tied: bool) -> None:
    model = transformers.GPT2LMHeadModel(shaped(shape, tie_word_embeddings=tied))
    loaded = check_logits(model, tmp_path)
    assert loaded.values["tie_embeddings"] == ("all" if tied else "none")


def test_label_head(tmp_path: Path) -> None:
    model = transformers.GPT2ForSequenceClassification(shaped(0, num_labels=3))
    check_label_head(model, tmp_path, "last_unbiased")


def test_span_head(tmp_path: Path) -> None:
    check_span_head(transformers.GPT2ForQuestionAnswering(shaped(1)), tmp_path)


def test_texts(tmp_path: Path) -> None:
    check_writing(transformers.GPT2LMHeadModel(shaped(0, n_positions=32)), tmp_path, seed=6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("activation_function", "quick_gelu"),
    ],
)
def test_what_the_backbone_has_not_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{key}=.*but has {value!r}"):
        values({**shaped(0).to_dict(), key: value})


def test_masks_among_older_weights_are_not_missed(tmp_path: Path) -> None:
    transformers.GPT2Model(shaped(0)).save_pretrained(tmp_path)
    more = {"h.0.attn.bias": torch.ones(1, 1, 16, 16), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    change_tensors(tmp_path, lambda tensors: {**tensors, **more})
    assert read(tmp_path).report.left_out == sorted(more)
    change_tensors(tmp_path, lambda tensors: {**tensors, "h.0.attn.extra": torch.ones(2)})
    with pytest.raises(UserError, match=r"holds 1 more: h\.0\.attn\.extra"):
        read(tmp_path)


def test_another_family_than_the_one_that_is_asked_for(tmp_path: Path) -> None:
    transformers.GPT2Model(shaped(0)).save_pretrained(tmp_path)
    model = {
        "_target_": "heed.backbone.transformer.Transformer",
        "pretrained": str(tmp_path),
        "family": "bert",
    }
    with pytest.raises(UserError, match=r"model\.family must be 'gpt2', .* but is 'bert'"):
        fill_in({"model": model})
    assert fill_in({"model": {**model, "family": "gpt2"}})["model"]["d_model"] == 24


def test_a_matrix_of_the_wrong_way_round_is_named(tmp_path: Path) -> None:
    transformers.GPT2Model(shaped(0)).save_pretrained(tmp_path)
    name = "h.1.attn.c_attn.weight"
    change_tensors(tmp_path, lambda tensors: {**tensors, name: tensors[name].T.contiguous()})
    with pytest.raises(UserError, match=r"h\.1\.attn\.c_attn\.weight is \(72, 24\)"):
        read(tmp_path)


def test_an_older_tokenizer(tmp_path: Path) -> None:
    """One token for everything, known by its name."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    texts = ["Who played the king?", "It was a dull film, and long.", "a king was dull"]
    trained.train_from_iterator(texts, vocab_size=280, special_tokens=["<|endoftext|>"])
    trained.save_model(str(tmp_path))
    theirs = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(shaped(0).to_dict()))
    ours = pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY).source
    around = ours.around["text"]
    rows = [[*around.before, *row, *around.after] for row in ours.encode(texts)]
    assert rows == theirs(texts)["input_ids"]
    assert ours.decode([[*rows[0], ours.eos_id]]) == texts[:1]
    special = ours.backend.get_added_tokens_decoder().values()
    assert [token.content for token in special if token.special] == ["<|endoftext|>"]
    assert ours.pad_id == ours.bos_id == ours.eos_id == theirs.eos_token_id
