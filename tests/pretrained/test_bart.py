"""BART against transformers' own on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.text_to_text import (
    SOURCE,
    WRITTEN,
    B,
    V,
    begun_step,
    check_numbers,
    check_writing,
    close,
    ids,
    randomized,
    read,
    refused,
    saved,
)
from tokenizers import ByteLevelBPETokenizer

from heed.decoding.beam import BeamDecoder
from heed.decoding.greedy import GreedyDecoder
from heed.errors import UserError
from heed.pretrained.bart import FAMILY
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.tokenizer import pretrained_tokenizers
from heed.text.template import Around

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "scale_embedding": False},
    {
        **{"d_model": 36, "encoder_layers": 3, "decoder_layers": 1, "scale_embedding": True},
        "activation_function": "relu",
    },
]
BOS, PAD, EOS = 0, 1, 2


def model(**shape: Any) -> Any:
    config = transformers.BartConfig(
        vocab_size=V,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        max_position_embeddings=16,
        **shape,
    )
    return transformers.BartForConditionalGeneration(config)


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers(shape: dict[str, Any], tmp_path: Path) -> None:
    check_numbers(model(**shape), tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_writing(shape: dict[str, Any], tmp_path: Path) -> None:
    check_writing(randomized(model(**shape)), tmp_path, start=[EOS, BOS])


@torch.no_grad()
def test_writing_with_the_makers_settings(tmp_path: Path) -> None:
    """`generate` as published checkpoints set it: bos is forced, and so is eos at the limit.

    A forced bos counts as written there and not here, so lengths differ by one and only scores
    without a length penalty rank alike; a forced eos replaces the last token, Heed leaves it.
    """
    made = randomized(model(**SHAPES[0]))
    made.generation_config.forced_bos_token_id = BOS
    made.save_pretrained(tmp_path)
    loaded, source = read(tmp_path), ids(SOURCE, PAD)
    memory = loaded.backbone.encode(source, SOURCE)
    for beams in (1, 4):
        rules = {"early_stopping": True, "length_penalty": 0.0} if beams > 1 else {}
        rows = made.generate(
            source,
            attention_mask=SOURCE.mask().long(),
            suppress_tokens=[PAD],
            num_beams=beams,
            do_sample=False,
            max_new_tokens=1 + WRITTEN,
            **rules,
        )
        decoder: Any = GreedyDecoder(max_length=WRITTEN)
        if beams > 1:
            decoder = BeamDecoder(
                beam_size=beams, length_penalty=0.0, early_stopping=True, max_length=WRITTEN
            )
        step = begun_step(loaded, memory, [EOS])
        found = decoder(step, batch_size=B, bos_id=BOS, eos_id=EOS, pad_id=PAD)
        for row, hypotheses in zip(rows.tolist(), found, strict=True):
            assert row[:2] == [EOS, BOS]
            written = row[2 : 2 + len(hypotheses[0].tokens)]
            cut = written[-1] == EOS and len(hypotheses[0].tokens) == WRITTEN
            assert hypotheses[0].tokens[: -1 if cut else None] == written[: -1 if cut else None]


@pytest.mark.parametrize("bare", [False, True])
@torch.no_grad()
def test_encoder_alone(bare: bool, tmp_path: Path) -> None:
    """Of a model with its head, and of one without, whose names have no prefix."""
    whole = randomized(model(**SHAPES[0]))
    folder = saved(whole.model if bare else whole, tmp_path)
    names = Checkpoint(str(folder)).names()
    assert ("shared.weight" in names) == bare
    source = ids(SOURCE, PAD)
    expected = whole.model.encoder(source, attention_mask=SOURCE.mask().long()).last_hidden_state
    backbone = read(folder, shape="encoder", n_decoder_layers=None).backbone
    close(backbone.encode(source, SOURCE)[SOURCE.mask()], expected[SOURCE.mask()])
    head = read(folder).report.fresh
    assert head == (["head.output.bias"] if bare else [])  # a bare model has none


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("normalize_before", True), ("normalize_embedding", False), ("is_decoder", True)),
        *(("decoder_attention_heads", 2), ("decoder_ffn_dim", 8), ("decoder_start_token_id", 0)),
        *(("activation_function", "quick_gelu"), ("tie_word_embeddings", False)),
    ],
)
def test_what_the_backbone_has_not(key: str, value: Any, tmp_path: Path) -> None:
    refused(saved(model(**SHAPES[0]), tmp_path, **{key: value}), f"must have {key}=")


def test_rows_too_long(tmp_path: Path) -> None:
    """Its positions end, and the two rows that no token has are none of them."""
    backbone = read(saved(model(**SHAPES[0]), tmp_path)).backbone
    assert backbone.max_length == 16
    with pytest.raises(UserError, match="at most model.max_length \\(16\\)"):
        backbone.encode(torch.full((1, 17), 5))


def test_tokenizer(tmp_path: Path) -> None:
    """From vocab.json and merges.txt; ids and rows are transformers' own."""
    trainer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer.train_from_iterator(["a small frog", "small frogs"] * 5, 300, special_tokens=special)
    trainer.save_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bart"}')
    files = json.loads((tmp_path / "vocab.json").read_text())
    merges = [tuple(row.split()) for row in (tmp_path / "merges.txt").read_text().splitlines()[1:]]
    theirs = transformers.BartTokenizer(vocab=files, merges=merges)
    ours = pretrained_tokenizers(checkpoint=Checkpoint(str(tmp_path)), family=FAMILY).source
    assert (ours.bos_id, ours.pad_id, ours.eos_id, ours.unk_id) == (0, 1, 2, 3)
    assert ours.around["target"] == Around([2, 0], [], [2])
    assert ours.around["pair"] == Around([0], [2, 2], [2])
    for text in ("a small frog", " frogs, frogs", "日本"):
        row = [0, *ours.encode([text])[0], 2]
        assert row == theirs(text)["input_ids"]
        assert ours.decode([row]) == [text]
