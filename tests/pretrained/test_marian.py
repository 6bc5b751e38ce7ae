"""Marian against transformers' own on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.text_to_text import (
    V,
    check_numbers,
    check_writing,
    randomized,
    read,
    refused,
    saved,
)
from tests.sentencepiece_file import write_model

from heed.backbone.positions import halved_sinusoidal_table
from heed.errors import UserError
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.marian import FAMILY
from heed.pretrained.tokenizer import pretrained_tokenizers
from heed.text.template import Around

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "scale_embedding": True},
    {
        **{"d_model": 36, "encoder_layers": 3, "decoder_layers": 1, "scale_embedding": False},
        **{"share_encoder_decoder_embeddings": False, "decoder_vocab_size": V - 1},
    },
    {
        **{"d_model": 24, "encoder_layers": 1, "decoder_layers": 1},
        **{"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    },
]
EOS, PAD = 0, V - 1


def model(activation: str = "swish", **shape: Any) -> Any:
    pad = shape.get("decoder_vocab_size", V) - 1
    config = transformers.MarianConfig(
        vocab_size=V,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        max_position_embeddings=16,
        activation_function=activation,
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=EOS,
        **shape,
    )
    return transformers.MarianMTModel(config)


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers(shape: dict[str, Any], tmp_path: Path) -> None:
    check_numbers(model(**shape), tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_writing(shape: dict[str, Any], tmp_path: Path) -> None:
    made = randomized(model(**shape))
    check_writing(made, tmp_path, start=[made.config.pad_token_id])


def test_positions_of_long_rows() -> None:
    """All sines before all cosines, as exact as theirs."""
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    for width in (24, 7):
        theirs = MarianSinusoidalPositionalEmbedding(2000, width).create_weight()
        torch.testing.assert_close(halved_sinusoidal_table(2000, width), theirs, atol=1e-6, rtol=0)


def test_older_files_hold_what_is_computed(tmp_path: Path) -> None:
    made = randomized(model(**SHAPES[0]))

    def older(tensors: dict[str, Any]) -> dict[str, Any]:
        positions = torch.zeros(16, 24)
        names = [f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")]
        return {**tensors, **{name: positions.clone() for name in names}}

    report = read(saved(made, tmp_path, older)).report
    assert len(report.left_out) == 2
    assert report.fresh == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("normalize_before", True),
            ("normalize_embedding", True),
            ("tie_word_embeddings", False),
        ),
        ("decoder_start_token_id", 3),
    ],
)
def test_what_the_backbone_has_not(key: str, value: Any, tmp_path: Path) -> None:
    refused(saved(model(**SHAPES[0]), tmp_path, **{key: value}), f"must have {key}=")


SOURCE_PIECES = ["▁", "▁frog", *"abcdefgiklmnoprstuwy", "▁lost"]
TARGET_PIECES = ["▁", "▁Frosch", *"abcdefghiklmnoprstuwy", "ö"]


def marian_files(folder: Path, *, apart: bool) -> None:
    special = [("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    write_model(folder / "source.spm", SOURCE_PIECES, special=special)
    write_model(folder / "target.spm", TARGET_PIECES, special=special)
    known = [piece for piece in SOURCE_PIECES if piece != "▁lost"]  # it has no id
    joint = dict.fromkeys(["</s>", "<unk>", *known, *([] if apart else TARGET_PIECES)])
    sides = {"vocab.json": [*joint, ">>deu<<", "<pad>"]}
    if apart:
        sides["target_vocab.json"] = ["</s>", "<unk>", *TARGET_PIECES, "<pad>"]
    for name, pieces in sides.items():
        (folder / name).write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "config.json").write_text('{"model_type": "marian"}')


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("apart", [False, True])
def test_tokenizers(apart: bool, tmp_path: Path) -> None:
    """Ids, rows and texts are those of transformers, but for pieces without an id: it takes them
    for unknown, Heed cuts them further.
    """
    pytest.importorskip("sentencepiece")
    marian_files(tmp_path, apart=apart)
    paths = {name: str(tmp_path / f"{name}.spm") for name in ("source", "target")}
    theirs = transformers.MarianTokenizer(
        paths["source"],
        paths["target"],
        str(tmp_path / "vocab.json"),
        target_vocab_file=str(tmp_path / "target_vocab.json") if apart else None,
        separate_vocabs=apart,
    )
    pair = pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY)
    assert not pair.joint
    source, target = pair.source, pair.target
    assert (source.eos_id, source.unk_id) == (0, 1)
    assert source.pad_id == source.bos_id == len(theirs.encoder) - 1
    assert target.around["target"] == Around([target.pad_id], [], [0])
    for text in ("a frog", "frogs  frogs", "ö frog", "x", ">>deu<< a frog", "lost", ""):
        ids = source.encode([text])[0]
        if text == "lost":
            assert theirs(text)["input_ids"] == [1, 0]
            assert source.tokens(ids) == ["▁", *"lost"]
        else:
            assert [*ids, 0] == theirs(text)["input_ids"]
    for text in ("Frosch", "ein Frösch", "frog"):
        ids = target.encode([text])[0]
        assert [*ids, 0] == theirs(text_target=text)["input_ids"]
        ids = [i for i in ids if i != 1]
        text = text.replace("F", "") if not text.startswith("F") else text
        assert target.decode([[target.pad_id, *ids, 0]]) == [text]
        if not apart:  # where they are, transformers shows "ö" as <pad>, which has its id there
            assert theirs.decode(ids, use_source_tokenizer=False) == text
    if not apart:  # a piece of the other side's can be written
        assert target.decode([[2 + SOURCE_PIECES.index("▁frog")]]) == ["frog"]


def test_broken_vocabulary(tmp_path: Path) -> None:
    marian_files(tmp_path, apart=False)
    (tmp_path / "vocab.json").write_text('{"</s>": 0, "<unk>": 2}')
    with pytest.raises(UserError, match="vocab.json must give each piece its id"):
        pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY)
