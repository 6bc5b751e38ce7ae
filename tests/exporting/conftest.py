"""Models with random weights as `heed export` would see them, without training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.commands.assemble import assemble
from heed.commands.compose import compose
from heed.exporting.subject import Subject

SMALL = [
    *("model.d_model=16", "model.n_heads=2", "model.d_feed_forward=24", "model.n_layers=2"),
    *("tokenizer.vocabulary_size=300", "data.source.train_size=61", "decoding.max_length=11"),
    *("data.source.validation_size=11", "data.source.test_size=13"),
]
RECORD: dict[str, Any] = {
    "task": "any",
    "name": "made",
    "seed": 42,
    "started": "2026-01-01T00:00:00+00:00",
    "command": ["heed", "train", "data.path=/home/somebody/data/sst2", "seed=7"],
    "parameters": 1234,
    "metrics": {"test/accuracy": 91.25, "test/loss": 0.25, "val/accuracy": 90.0},
    "signatures": {"accuracy": "made|for:tests"},
    "hardware": {"cpu": "a CPU", "gpus": []},
    "computing": {"precision": "32-true", "processes": 1},
    "versions": {"heed-nlp": "0.0.0", "torch": "2.0"},
    "steps": 3,
    "epochs": 1,
    "data": {"train": {"records": 61, "tokens": {"text": 4336}, "fingerprint": "f" * 64}},
}


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    """`make_subject("translation", "model.positions=rotary")`: a model with random weights."""

    def make(task: str, *overrides: str, tolerance: float = 1e-4, **settings: Any) -> Subject:
        config = compose("train", [f"task={task}", *SMALL, *overrides])
        torch.manual_seed(5)
        parts = assemble(config)
        with torch.no_grad():  # so far from its beginning that every part of it matters
            for parameter in parts.task.parameters():
                if parameter.ndim > 1:
                    parameter *= 2.5
                else:
                    parameter += 0.2 * torch.randn(parameter.shape)
        records = parts.datamodule.records("test")
        return Subject(
            task=parts.task.eval(),
            tokenizers=parts.tokenizers,
            labels=parts.labels,
            datamodule=parts.datamodule,
            config=config,
            record=copy.deepcopy(RECORD),
            run_dir=Path("nowhere"),
            checkpoint="best.ckpt",
            examples=[dict(records[i]) for i in range(7)],
            examples_from="the run's test split",
            settings={"quantization": None, "tolerance": tolerance, **settings},
        )

    return make
