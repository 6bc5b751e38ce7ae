"""T5, v1.0 and v1.1, against transformers' own on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.text_to_text import (
    SOURCE,
    V,
    check_numbers,
    check_writing,
    close,
    ids,
    randomized,
    read,
    refused,
    saved,
)
from tests.sentencepiece_file import write_model

from heed.errors import UserErrors
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.save import write_config, write_tensors
from heed.pretrained.t5 import FAMILY
from heed.pretrained.tokenizer import pretrained_tokenizers
from heed.text.template import Around

transformers = pytest.importorskip("transformers")

SHAPES: dict[str, dict[str, Any]] = {
    "v1.0": {"d_kv": 8, "num_layers": 2, "feed_forward_proj": "relu"},
    "v1.1": {
        **{"d_kv": 5, "num_layers": 3, "num_decoder_layers": 1},
        **{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    },
}


def model(kind: str, **more: Any) -> Any:
    config = transformers.T5Config(
        vocab_size=V,
        d_model=24,
        d_ff=40,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=6,
        decoder_start_token_id=0,
        **{**SHAPES[kind], **more},
    )
    made = transformers.T5ForConditionalGeneration(config)
    if kind == "v1.1":
        made.lm_head.weight = type(made.lm_head.weight)(made.lm_head.weight.clone())
    return made


@pytest.mark.parametrize("kind", SHAPES)
def test_numbers(kind: str, tmp_path: Path) -> None:
    check_numbers(model(kind), tmp_path)


@pytest.mark.parametrize("kind", SHAPES)
def test_writing(kind: str, tmp_path: Path) -> None:
    check_writing(randomized(model(kind)), tmp_path, start=[0])


@pytest.mark.parametrize("shape", [{}, {"n_layers": 1}])
def test_encoder_alone(shape: dict[str, Any], tmp_path: Path) -> None:
    """Of a whole checkpoint and of one that is nothing else; there and back."""
    whole = randomized(model("v1.0"))
    alone = transformers.T5EncoderModel(whole.config)
    alone.load_state_dict(
        {n: t for n, t in whole.state_dict().items() if n.startswith(("encoder.", "shared."))}
    )
    if shape:
        alone.encoder.block = alone.encoder.block[:1]
    alone = alone.eval()
    source = ids(SOURCE, 0)
    expected = alone(source, attention_mask=SOURCE.mask().long()).last_hidden_state[SOURCE.mask()]
    folders = [saved(whole, tmp_path / "whole")]
    if not shape:
        folders.append(saved(alone, tmp_path / "alone"))
    for folder in folders:
        given = {"shape": "encoder", "n_decoder_layers": None, **shape}
        loaded = read(folder, **given)
        close(loaded.backbone.encode(source, SOURCE)[SOURCE.mask()], expected)
    assert read(folders[-1]).backbone.shape == ("encoder_decoder" if shape else "encoder")
    tensors = write_tensors(loaded.family, loaded.values, loaded.backbone.state_dict())
    config = write_config(loaded.family, loaded.values)
    assert config["architectures"] == ["T5EncoderModel"]
    again = transformers.T5EncoderModel(transformers.T5Config(**config)).eval()
    missing, unexpected = again.load_state_dict(tensors, strict=False)
    assert missing == ["encoder.embed_tokens.weight"]  # tied
    assert not unexpected
    found = again(source, attention_mask=SOURCE.mask().long()).last_hidden_state[SOURCE.mask()]
    close(found, expected)


def test_an_output_table_that_is_left_out_is_the_shared_one(tmp_path: Path) -> None:
    def cut(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}

    loaded = read(saved(model("v1.1"), tmp_path, cut))
    assert loaded.report.fresh == []
    assert loaded.values["tie_embeddings"] == "inputs"
    assert torch.equal(loaded.head.output.weight, loaded.backbone.encoder.embeddings.tokens.weight)


def test_a_tied_table_under_other_names(tmp_path: Path) -> None:
    """Older files have the table under all names; transformers leaves out all but one."""

    def twice(tensors: dict[str, Any]) -> dict[str, Any]:
        table = tensors.pop("shared.weight")
        return {**tensors, "encoder.embed_tokens.weight": table, "lm_head.weight": table.clone()}

    made = randomized(model("v1.0"))
    loaded = read(saved(made, tmp_path, twice))
    assert torch.equal(loaded.head.output.weight, made.shared.weight)
    assert loaded.report.left_out == []


def test_tied_tables_that_differ(tmp_path: Path) -> None:
    folder = saved(model("v1.0"), tmp_path, lambda t: {**t, "lm_head.weight": torch.ones(V, 24)})
    refused(folder, "one and the same tensor.*shared.weight and lm_head.weight")


def test_missing_extra_and_misshapen_tensors(tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors.pop("decoder.block.1.layer.1.EncDecAttention.q.weight")
        tensors["encoder.block.0.layer.0.SelfAttention.q.bias"] = torch.zeros(24)
        tensors["encoder.block.1.layer.0.SelfAttention.k.weight"] = torch.zeros(24, 23)
        return tensors

    with pytest.raises(UserErrors) as caught:
        read(saved(model("v1.0"), tmp_path, change))
    told = " | ".join(str(error) for error in caught.value.errors)
    assert "lacks 1: decoder.block.1.layer.1.EncDecAttention.q.weight" in told
    assert "encoder.block.1.layer.0.SelfAttention.k.weight is (24, 23)" in told
    assert "holds 1 more: encoder.block.0.layer.0.SelfAttention.q.bias" in told


@pytest.mark.parametrize(
    ("key", "value"), [("feed_forward_proj", "gated-relu"), ("is_decoder", True)]
)
def test_what_the_backbone_has_not(key: str, value: Any, tmp_path: Path) -> None:
    refused(saved(model("v1.0"), tmp_path, **{key: value}), f"must have {key}=")


def test_another_family(tmp_path: Path) -> None:
    bert = {"vocab_size": V, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**bert, intermediate_size=8)
    folder = saved(transformers.BertModel(config), tmp_path)
    settings = json.loads((saved(model("v1.0"), tmp_path / "t5") / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings))
    refused(folder, "(?s)must hold all tensors.*must hold what a t5 is made of")


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.json"])
def test_tokenizer(name: str, tmp_path: Path) -> None:
    """Ids, rows and sentinels are transformers' own."""
    pieces = ["▁", "▁frog", *"abcdefghiklmnoprstuwy"]
    if name == "spiece.model":
        write_model(tmp_path / name, pieces)
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scored += [(piece, -1.0 - 0.1 * i) for i, piece in enumerate(pieces)]
    scored += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(100))]
    theirs = transformers.T5Tokenizer(vocab=scored)
    if name == "tokenizer.json":
        theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    pair = pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY)
    assert pair.joint
    ours = pair.source
    assert ours.vocabulary_size == len(theirs) == len(pieces) + 3 + 100
    assert (ours.pad_id, ours.bos_id, ours.eos_id, ours.unk_id) == (0, 0, 1, 2)
    assert ours.around["source"] == Around([], [], [1])
    assert ours.around["target"] == Around([0], [], [1])
    assert ours.around["pair"] == Around([], [1], [1])
    for text in ("a frog", "  frogs  and\tfrogs", "x frog", ""):
        assert [*ours.encode([text])[0], 1] == theirs(text)["input_ids"]
        kept = [i for i in ours.encode([text])[0] if i != 2]
        assert ours.decode([[0, *kept, 1]]) == [theirs.decode(kept)]
    last = theirs.convert_tokens_to_ids("<extra_id_0>")
    assert ours.tokens([last]) == ["<extra_id_0>"]
