"""A run of two processes that trains an adapter is the run of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.cli import main

QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*Trying to infer the `batch_size`",
)
pytestmark = [pytest.mark.learning, *(pytest.mark.filterwarnings(words) for words in QUIET)]


def weights(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return found["state_dict"]


@pytest.fixture(scope="module")
def train_adapter(one_process, command, words, root):
    """`train_adapter("two", 2, ...)` trains LoRA on a run of one process; the new run's folder."""
    base = one_process("sentiment").folder

    def train(place: str, processes: int, *more: str) -> Path:
        own = [
            word
            for word in words("sentiment", place)
            if not word.startswith(("trainer=ddp", "tokenizer.vocabulary_size"))
        ]
        start = (f"model.init_from={base}", "tokenizer=file", f"tokenizer.path={base}/tokenizer")
        tuned = ("adapter=lora", "adapter.dropout=0", "finetuning.layer_decay=0.8")
        given = [*own, *start, *tuned, *more, "trainer.max_steps=4"]
        given = ["train", *given, f"trainer.devices={processes}"]
        if processes == 1:
            assert main(given) == 0
        else:
            done = command(*given)
            assert done.returncode == 0, done.stdout + done.stderr
        (folder,) = (path.parent for path in (root / place).rglob("run.json"))
        return folder

    return train


@pytest.fixture(scope="module")
def alone(train_adapter):
    """The weights that one process comes to."""
    return weights(train_adapter("lora-alone", 1, "trainer.strategy=auto"))


def test_an_adapter_is_trained_alike_and_goes_on(train_adapter, alone, command):
    """The second process has no base of its own: the first hands its weights to it."""
    folder = train_adapter("lora-ddp", 2, "trainer=ddp")
    found = weights(folder)
    assert alone.keys() == found.keys()
    assert not any("base_layer" in name for name in found)
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)
    done = command("train", f"resume={folder}", "trainer.max_steps=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["steps"] == 6
