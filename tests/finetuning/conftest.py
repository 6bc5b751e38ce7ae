"""A small model of any shape, and a task around it that has a backbone and a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from heed.backbone.transformer import Transformer
from heed.heads.vocabulary import VocabularyHead


@pytest.fixture
def make_model() -> Callable[..., Transformer]:
    """`make_model("encoder", n_layers=3)` is a model of 31 tokens, width 14, without dropout."""

    def make(shape: Any, **values: Any) -> Transformer:
        torch.manual_seed(5)
        sizes = {"d_model": 14, "n_heads": 2, "d_feed_forward": 19, "n_layers": 3}
        sizes = {"vocabulary_size": 31, "dropout": 0.0, "norm_position": "pre", **sizes, **values}
        return Transformer(shape=shape, **sizes)

    return make


@pytest.fixture
def make_task(make_model: Callable[..., Transformer]) -> Callable[..., nn.ModuleDict]:
    """The model as `backbone`, with a `head` that shares its table or is a layer of its own."""

    def make(shape: Any, *, tied: bool = False, **values: Any) -> nn.ModuleDict:
        backbone = make_model(shape, **values)
        head: nn.Module = nn.Linear(14, 3)
        if tied:
            table = backbone.output_embedding
            head = VocabularyHead(d_model=14, vocabulary_size=31, tied=table)
        return nn.ModuleDict({"backbone": backbone, "head": head})

    return make
