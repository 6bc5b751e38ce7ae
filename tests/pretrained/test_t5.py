"""T5, v1.0 and v1.1, against transformers' own on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pretrained.text_to_text import V, check_numbers, check_writing, randomized

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
