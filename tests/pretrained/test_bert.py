"""BERT's checkpoints against transformers' own models, on random weights and on a real one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.heads.label import LabelHead
from heed.heads.span import SpanHead
from heed.pretrained.bert import FAMILY
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.load import load_pretrained

transformers = pytest.importorskip("transformers")

SHAPES: list[dict[str, Any]] = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": "gelu"},
    {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "hidden_act": "relu"},
]
LENGTHS = torch.tensor([9, 4, 7])


def randomized(model: Any) -> Any:
    torch.manual_seed(1)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def inputs(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, attention mask, segments: (3, 9) each."""
    torch.manual_seed(2)
    mask = torch.arange(9) < LENGTHS[:, None]
    ids = torch.randint(5, vocabulary, (3, 9)).masked_fill(~mask, 0)
    segments = (torch.arange(9) >= 3).long().expand(3, 9)
    return ids, mask.long(), segments


def load(folder: Path, head: torch.nn.Module | None = None, **settings: Any) -> Transformer:
    checkpoint = Checkpoint(str(folder))
    values = FAMILY.values(checkpoint.config)
    backbone = Transformer(**values).eval()
    load_pretrained(checkpoint, FAMILY, values, backbone, head, **settings)
    return backbone


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states(tmp_path: Path, shape: dict[str, Any]) -> None:
    config = transformers.BertConfig(
        vocab_size=61, intermediate_size=40, max_position_embeddings=16, **shape
    )
    theirs = randomized(transformers.BertModel(config))
    theirs.save_pretrained(tmp_path)
    ids, mask, segments = inputs(61)
    expected = theirs(ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
    found = load(tmp_path).encode(ids, Padded(LENGTHS, 9), segments)
    real = mask.bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=0)
