"""Adapters, further tokens and fresh layers on a checkpoint of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from heed.cli import main

TINY = (
    *("task=sentiment", "model=pretrained", "data.max_tokens=1500", "logger=csv"),
    "task.preparation.max_length=64",
    *("trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=2"),
    *("data.source.train_size=31", "data.source.validation_size=7", "data.source.test_size=5"),
)


def train(bert: Path, root: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    """A run of two steps on the checkpoint, and the weights of its last one."""
    assert (
        main(["train", *TINY, f"model.pretrained={bert}", *words, f"paths.output_dir={root}"]) == 0
    )
    (record,) = root.rglob("run.json")
    run = record.parent
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return run, checkpoint["state_dict"]


def test_an_adapter_is_kept_alone_and_its_base_is_held_against_its_checksum(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(bert, tmp_path / "bert"))
    run, kept = train(copy, tmp_path / "runs", "adapter=lora", "tokenizer.add_tokens=[zyx]")
    table = "backbone.encoder.embeddings.tokens.weight"
    others = [n for n in kept if n.startswith("backbone.") and n != table]
    assert others
    assert all(".lora_" in name for name in others)
    size = json.loads((copy / "config.json").read_text())["vocab_size"]
    assert kept[table].shape == (size + 1, 24)
    known = json.loads((run / "run.json").read_text())["lineage"]["pretrained"]
    assert known["name"] == str(copy)
    (tmp_path / "in.txt").write_text("a zyx film\n")
    words = [f"run={run}", f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.txt'}"]
    assert main(["predict", *words]) == 0
    assert main(["train", f"resume={run}", "trainer.max_steps=3"]) == 0
    weights = load_file(copy / "model.safetensors")
    weights["classifier.bias"] += 1.0
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert main(["evaluate", f"run={run}"]) == 2
    said = capsys.readouterr().err
    assert f"holds an adapter to {copy}, which is not what it was" in said
    assert known["sha256"] in said


def test_top_layers_start_afresh_and_the_rest_is_the_checkpoints(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ("optimizer.lr=1e-30", "optimizer.weight_decay=0")
    _, plain = train(bert, tmp_path / "a", *still)
    _, renewed = train(bert, tmp_path / "b", *still, "finetuning.reinitialize_layers=1")
    assert plain.keys() == renewed.keys()
    for name, value in plain.items():
        if name.startswith("backbone.encoder.layers.1.") and value.dim() > 1:
            assert not value.equal(renewed[name]), name
        elif name.startswith("backbone.") and ".layers.1." not in name:
            assert value.equal(renewed[name]), name
    assert "fresh nevertheless: encoder.layers.1" in capsys.readouterr().out
