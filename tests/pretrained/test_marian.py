"""Marian against transformers' own on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pretrained.text_to_text import V, check_numbers, check_writing, randomized

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "scale_embedding": True},
    {
        **{"d_model": 36, "encoder_layers": 3, "decoder_layers": 1, "scale_embedding": False},
        **{"share_encoder_decoder_embeddings": False, "decoder_vocab_size": V - 1},
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
