"""Weights as safetensors: tied ones once, broken files named, no places of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from heed.errors import RunFailed, UserError
from heed.exporting import weights
from heed.exporting.subject import Subject

Make = Callable[..., Subject]


def test_tied_tables_are_written_once(make_subject: Make, tmp_path: Path) -> None:
    subject = make_subject("translation")
    state = subject.task.state_dict()
    weights.save_weights(state, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    tied = {
        "backbone.encoder.embeddings.tokens.weight",
        "backbone.decoder.embeddings.tokens.weight",
        "head.output.weight",
    }
    assert len(tied & names) == 1
    read = weights.load_weights(tmp_path / "model.safetensors")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_slices_of_one_tensor_are_not_tied(tmp_path: Path) -> None:
    table = torch.arange(6.0).view(3, 2)
    state = {"all": table, "first": table[:2], "second": table[1:]}
    weights.save_weights(state, tmp_path / "model.safetensors")
    read = weights.load_weights(tmp_path / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }


def test_the_file_is_read_back(
    make_subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("sentiment")
    written = weights.write(subject, tmp_path)
    assert written.largest_difference == 0.0
    read = weights.load_weights

    def damaged(file: Path) -> dict[str, torch.Tensor]:
        state = read(file)
        state["head.output.bias"] = state["head.output.bias"] + 1e-3
        return state

    monkeypatch.setattr(weights, "load_weights", damaged)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(RunFailed, match="model.safetensors must compute what the model does"):
        weights.write(subject, other)


def test_a_truncated_file_is_named(make_subject: Make, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    weights.save_weights({"a": torch.ones(1000)}, file)
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(UserError, match="must be a whole safetensors file, but cannot be read"):
        weights.load_weights(file)


def test_no_places_of_this_machine(make_subject: Make, tmp_path: Path) -> None:
    subject = make_subject("sentiment", "data.path=/home/somebody/data", "paths.output_dir=/home/x")
    config = {**subject.config, "adapter": {"r": 4}}
    config["model"] = {**config["model"], "pretrained": "/home/x/my-bert"}
    portable = weights.portable(config)
    assert portable["adapter"] is None
    assert portable["model"]["pretrained"] == "my-bert"
    assert subject.config["paths"]["output_dir"] == "/home/x", "the run's own stays as it was"
    text = str(portable)
    assert "/home" not in text
    assert str(Path.home()) not in text
