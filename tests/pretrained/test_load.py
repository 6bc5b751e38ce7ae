"""Checkpoints in every form they come in, and broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from heed.backbone.transformer import Transformer
from heed.commands.pretrained_model import fill_in
from heed.errors import UserError
from heed.pretrained.bert import FAMILY
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.families import family_of
from heed.pretrained.load import load_pretrained

Tensors = dict[str, torch.Tensor]
TRANSFORMER = "heed.backbone.transformer.Transformer"


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def load(folder: Path, **changes: Any) -> Tensors:
    checkpoint = Checkpoint(str(folder))
    values = {**FAMILY.values(checkpoint.config), **changes}
    torch.manual_seed(0)
    backbone = Transformer(**values)
    load_pretrained(checkpoint, FAMILY, values, backbone)
    return backbone.state_dict()


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def same(found: Tensors, expected: Tensors) -> bool:
    return all(torch.equal(found[name], expected[name]) for name in expected)


def test_pytorch_weights(bert: Path, copy: Path) -> None:
    torch.save(load_file(bert / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert same(load(copy), load(bert))


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards(bert: Path, copy: Path, kind: str) -> None:
    tensors = load_file(bert / "model.safetensors")
    (copy / "model.safetensors").unlink()
    stem, suffix = kind.split(".")
    where = {name: f"{stem}-{i % 2}-of-2.{suffix}" for i, name in enumerate(tensors)}
    for file in set(where.values()):
        shard = {name: tensors[name] for name in tensors if where[name] == file}
        save = save_file if suffix == "safetensors" else torch.save
        save(shard, copy / file)
    (copy / f"{kind}.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(load(copy), load(bert))
    (copy / f"{stem}-1-of-2.{suffix}").unlink()
    with pytest.raises(UserError, match=f"has no {stem}-1-of-2"):
        load(copy)


def test_names_of_old(bert: Path, copy: Path) -> None:
    """Google's own weights call a norm's weight gamma and its bias beta."""

    def older(tensors: Tensors) -> Tensors:
        return {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }

    rewrite(copy, older)
    assert same(load(copy), load(bert))


def test_the_first_layers_alone(bert: Path) -> None:
    whole, part = load(bert), load(bert, n_layers=1)
    assert same(part, {name: whole[name] for name in part})
    assert len(part) < len(whole)


def test_missing_tensors_are_named(copy: Path) -> None:
    lost = "bert.encoder.layer.1.output.dense.weight"
    rewrite(copy, lambda tensors: {n: t for n, t in tensors.items() if n != lost})
    with pytest.raises(UserError, match=r"lacks 1: encoder\.layer\.1\.output\.dense\.weight"):
        load(copy)


def test_misshapen_tensors_are_named(copy: Path) -> None:
    name = "bert.encoder.layer.0.attention.self.key.weight"
    rewrite(copy, lambda tensors: {**tensors, name: tensors[name][:20].contiguous()})
    with pytest.raises(UserError, match=r"attention\.self\.key\.weight is \(20, 24\)"):
        load(copy)


def test_unknown_tensors_are_named(copy: Path) -> None:
    more = {"bert.encoder.layer.0.adapter.weight": torch.zeros(3)}
    rewrite(copy, lambda tensors: {**tensors, **more})
    with pytest.raises(UserError, match=r"holds 1 more: encoder\.layer\.0\.adapter\.weight"):
        load(copy)


def test_nothing_is_changed_by_a_broken_checkpoint(copy: Path) -> None:
    lost = "bert.encoder.layer.1.output.dense.weight"
    rewrite(copy, lambda tensors: {n: t for n, t in tensors.items() if n != lost})
    checkpoint = Checkpoint(str(copy))
    values = FAMILY.values(checkpoint.config)
    backbone = Transformer(**values)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError):
        load_pretrained(checkpoint, FAMILY, values, backbone)
    assert same(backbone.state_dict(), before)


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_a_truncated_file(copy: Path, kept: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="must be a file of tensors, but cannot be read"):
        load(copy)


def test_a_pickle_with_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    torch.save({"weight": Evil()}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load(copy)
    assert not mark.exists()


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"must hold model\.safetensors or pytorch_model\.bin"):
        load(copy)


def test_no_such_folder_and_no_such_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but .* is neither"):
        Checkpoint(str(tmp_path / "nowhere" / "at" / "all"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is a file"):
        Checkpoint(str(tmp_path / "config.json"))


def test_another_family(copy: Path) -> None:
    with pytest.raises(UserError, match="model_type='berd'"):
        family_of("berd", name="x")
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match=r"config\.json must have vocab_size"):
        fill_in({"model": {"_target_": TRANSFORMER, "pretrained": str(copy)}})


def test_a_snapshot_of_the_hub(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is read from the hub's own cache where there is no network; the commit is kept."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--somebody--small-bert"
    (place / "snapshots").mkdir(parents=True)
    shutil.copytree(bert, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    filled = fill_in({"model": {"_target_": TRANSFORMER, "pretrained": "somebody/small-bert"}})
    assert filled["model"]["revision"] == commit
    assert filled["model"]["d_model"] == 24
    assert Checkpoint("somebody/small-bert").files[0].parent.name == commit
    with pytest.raises(UserError, match="no network, or no such name"):
        Checkpoint("somebody/else")


def test_what_is_given_must_fit(bert: Path) -> None:
    model = {"_target_": TRANSFORMER, "pretrained": str(bert), "dropout": 0.3, "n_layers": None}
    filled = fill_in({"model": model, "task": {"pooling": "auto"}})
    assert filled["model"]["dropout"] == 0.3
    assert filled["model"]["n_layers"] == 2
    assert filled["model"]["family"] == "bert"
    assert filled["task"]["pooling"] == "pooled"
    for key, value in (("d_model", 32), ("positions", "rotary"), ("n_layers", 3)):
        with pytest.raises(UserError, match=rf"model\.{key} must be"):
            fill_in({"model": {**model, key: value}})
