"""BART against transformers' own on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pretrained.text_to_text import V, check_numbers, check_writing, randomized

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
