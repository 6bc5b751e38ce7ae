"""A small BERT as save_pretrained() leaves it, with a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = [
    "the",
    "a",
    "film",
    "was",
    "good",
    "bad",
    "fine",
    "dull",
    "and",
    "very",
    "not",
    "who",
    "what",
    "played",
    "it",
    "in",
    "well",
    "ill",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def transformers() -> Any:
    return pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def bert(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT for two labels, its classifier and pooler among the weights."""
    folder = tmp_path_factory.mktemp("bert")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = list(dict.fromkeys(pieces))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=2,
        intermediate_size=40,
        max_position_embeddings=64,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder
