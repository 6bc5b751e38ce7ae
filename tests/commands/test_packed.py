"""`data.packed` and `trainer.compile`, as a user gives them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from heed.commands.compose import compose
from heed.commands.packing import packs, settle_packing
from heed.training.callbacks.compilation import Compilation


@pytest.mark.parametrize(
    ("task", "packed"), [("translation", True), ("qa", True), ("translation", "similar")]
)
def test_a_packed_run_goes_on_as_if_never_stopped(
    heed, tiny, tmp_path: Path, task: str, packed: bool | str
) -> None:
    words = [*tiny, f"task={task}", f"data.packed={packed}", "logger=csv", "model.dropout=0.1"]
    words += ["trainer.log_every_n_steps=1"]
    whole = heed("train", *words, "trainer.max_steps=4", f"paths.output_dir={tmp_path / 'a'}")
    part = heed("train", *words, "trainer.max_steps=2", f"paths.output_dir={tmp_path / 'b'}")
    assert whole.code == part.code == 0, whole.err + part.err
    folder = _folder(tmp_path / "b")
    assert heed("train", f"resume={folder}", "trainer.max_steps=4").code == 0
    assert _losses(folder) == _losses(_folder(tmp_path / "a"))
    data = json.loads((folder / "run.json").read_text())["data"]
    assert data["train"]["packed"] == packed


def test_without_fast_half_precision_rows_are_padded(heed, tiny, tmp_path: Path) -> None:
    """And the frozen config says so, for whoever goes on with the run elsewhere."""
    answer = heed(
        "train",
        *tiny,
        "trainer.max_steps=1",
        "trainer.precision=32-true",
        f"paths.output_dir={tmp_path}",
    )
    assert answer.code == 0, answer.err
    config = yaml.safe_load((_folder(tmp_path) / "config.yaml").read_text())
    assert config["data"]["packed"] is False


@pytest.mark.parametrize(
    ("words", "packed"),
    [
        ((), True),
        (("model.positions=alibi",), False),
        (("model.attention_dropout=0.1",), False),
        (("trainer.precision=32-true",), False),
        (("trainer.accelerator=cpu",), False),
        (("model.shape=decoder", "task.bidirectional_prefix=true"), False),
        (("data.packed=false",), False),
    ],
)
def test_auto_packs_what_is_fast(monkeypatch, words: tuple[str, ...], packed: bool) -> None:
    """Stands in for a machine with a GPU: what is asked of torch is answered as one would."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    config = compose("train", ["trainer.accelerator=gpu", *words])
    assert packs(config) is packed
    settle_packing(config)
    assert config["data"]["packed"] is packed


@pytest.mark.parametrize(
    ("words", "packed"),
    [
        ((), "similar"),
        (("trainer.precision=bf16-mixed",), "similar"),
        (("trainer.precision=32-true",), False),
        (("model.positions=rotary",), False),
        (("+model.qk_norm=true",), False),
        (("data.packed=true",), True),
    ],
)
def test_auto_on_a_cpu_that_multiplies_half_precision_fast(
    monkeypatch, words: tuple[str, ...], packed: bool | str
) -> None:
    """Stands in for a CPU with matrix tiles."""
    monkeypatch.setattr("heed.training.precision._has_matrix_tiles", lambda: True)
    config = compose("train", ["trainer.accelerator=cpu", *words])
    assert packs(config) == packed
    assert settle_packing(config) is (packed is not True)
    assert not settle_packing(config)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("data.packed=3", "data.packed must be auto, true, similar or false, but is 3"),
        ("trainer.compile=fast", "trainer.compile must be auto"),
    ],
)
def test_other_values_are_refused(heed, word: str, named: str) -> None:
    answer = heed("check", word)
    assert answer.code == 2
    assert named in answer.err


def test_a_prefix_that_sees_itself_is_not_packed(heed) -> None:
    answer = heed(
        "check", "data.packed=true", "model.shape=decoder", "task.bidirectional_prefix=true"
    )
    assert answer.code == 2
    assert "data.packed must be auto or false with task.bidirectional_prefix" in answer.err


@pytest.mark.parametrize(
    ("compile", "device", "packed", "steps", "compiled"),
    [
        ("auto", "cuda", True, 1000, True),
        ("auto", "cuda", True, 999, False),
        ("auto", "cuda", False, 1000, False),
        ("auto", "cpu", True, 1000, False),
        (True, "cpu", False, 1, True),
        (False, "cuda", True, 1000, False),
    ],
)
def test_auto_compiles_what_pays(compile, device, packed, steps, compiled) -> None:
    """Trainer and task stand in for those of a GPU. How many steps are done makes no difference,
    so that a run that goes on is compiled if it was."""
    asked: list[dict[str, object]] = []
    task = SimpleNamespace(
        device=torch.device(device), compile_loss=lambda **how: asked.append(how)
    )
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        datamodule=SimpleNamespace(packed=packed),
        strategy=type("SingleDeviceStrategy", (), {})(),
        estimated_stepping_batches=steps,
        global_step=1000,
    )
    Compilation(compile).on_fit_start(trainer, task)  # type: ignore[arg-type]
    assert bool(asked) is compiled


def _folder(root: Path) -> Path:
    return next(root.rglob("run.json")).parent


def _losses(folder: Path) -> list[str]:
    lines = (folder / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index("train/loss")
    return [line.split(",")[place] for line in lines[1:] if line.split(",")[place]]
