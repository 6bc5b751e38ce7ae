"""Sentiment and question answering as traced programs: any number of rows of any length."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.backbone.kernels import reference_attention
from heed.backbone.parts import KernelName
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.transformer import Transformer
from heed.backbone.windowed import WindowedAttention
from heed.commands.compose import compose
from heed.errors import RunFailed
from heed.exporting import onnx_program, torch_program
from heed.exporting.expressible import program_faults
from heed.exporting.program import input_names, program_of
from heed.exporting.subject import Subject
from heed.exporting.traceable import BandedAttention, make_traceable, traceable

Make = Callable[..., Subject]


def long(*values: Any) -> Any:
    """A case that is left to the long tests."""
    return pytest.param(*values, marks=pytest.mark.learning)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 5, 97])
def test_a_band_is_a_window(causal: bool, length: int) -> None:
    torch.manual_seed(3)
    query, key, value = (torch.randn(2, 2, length, 4) for _ in range(3))
    mask = (torch.arange(length) < torch.tensor([[length], [max(1, length - 2)]]))[:, None, None]
    window = WindowedAttention(window=3, kernel=reference_attention)
    band = traceable(window)
    assert isinstance(band, BandedAttention)
    near, banded = (
        kernel(query, key, value, mask=mask, causal=causal)[1, :, : max(1, length - 2)]
        for kernel in (window, band)
    )
    assert torch.allclose(near, banded, atol=1e-6)


def test_kernels_that_can_be_traced_stay() -> None:
    capped = CappedAttention(cap=3.0)
    assert traceable(capped) is capped
    assert traceable(functools.partial(reference_attention)) is reference_attention


@pytest.mark.parametrize("name", ["auto", "flex", "sdpa"])
def test_a_models_windows_stay(name: KernelName) -> None:
    model = Transformer(
        shape="encoder",
        vocabulary_size=11,
        d_model=32,
        n_heads=2,
        n_layers=2,
        attention="windowed",
        window=3,
        global_layers=[1],
        kernel=name,
    )
    make_traceable(model)
    assert model.encoder is not None
    kernels = [layer.self_attention.kernel for layer in model.encoder.layers]
    assert isinstance(kernels[0], BandedAttention)
    assert kernels[0].window == 3
    assert kernels[0].kernel is kernels[1] is reference_attention


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            "sentiment",
            [
                *("model.shape=decoder", "task.pooling=last"),
                *("model.attention=windowed", "model.window=7"),
            ],
        ),
        long("qa", ["model.shape=encoder_decoder", "model.positions=learned"]),
        long("sentiment", ["model.positions=rotary", "model.norm=rms_norm", "task.pooling=pooled"]),
        long("qa", ["model.positions=relative", "+model.attention_soft_cap=4"]),
    ],
)
def test_torch_runs_what_the_model_computes(
    task: str, words: list[str], make_subject: Make, tmp_path: Path
) -> None:
    subject = make_subject(task, "model.n_layers=1", *words)
    written = torch_program.write(subject, tmp_path)
    assert written.largest_difference < 1e-5
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    program = program_of(subject.task)
    for rows, length in ((1, 1), (2, 5), (5, 150)):
        ids = torch.randint(300, (rows, length))
        mask = torch.ones_like(ids)
        mask[-1, length // 2 + 1 :] = 0
        with torch.no_grad():
            found, expected = loaded(ids, mask), program(ids, mask)
        if task == "sentiment":
            assert torch.allclose(found, expected, atol=1e-5)
            continue
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a[:-1], b[:-1], atol=1e-5)
            assert torch.allclose(a[-1, mask[-1] > 0], b[-1, mask[-1] > 0], atol=1e-5)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("qa", ["model.positions=alibi", "model.activation=swiglu", "+model.n_segments=2"]),
        long("sentiment", ["model.shape=encoder_decoder", "+model.qk_norm=true"]),
    ],
)
def test_onnxruntime_runs_what_the_model_computes(
    task: str, words: list[str], make_subject: Make, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    subject = make_subject(task, "model.n_layers=1", *words)
    written = onnx_program.write(subject, tmp_path)
    assert written.largest_difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    program = program_of(subject.task)
    names = input_names(program)
    assert tuple(one.name for one in session.get_inputs()) == names
    assert names == ("input_ids", "attention_mask", "token_type_ids")[: 3 if task == "qa" else 2]
    for rows, length in ((1, 2), (5, 150)):
        ids = torch.randint(300, (rows, length))
        types = (torch.arange(length) > length // 2).long().expand(rows, -1)
        given = (ids, torch.ones_like(ids), types)[: len(names)]
        found: Any = session.run(
            None, {name: one.numpy() for name, one in zip(names, given, strict=True)}
        )
        expected = program(*given)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(torch.from_numpy(a), b, atol=1e-4)


@pytest.mark.learning
def test_a_program_that_computes_something_else_is_refused(
    make_subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("sentiment", "model.n_layers=1")

    def wrong(task: Any) -> Any:
        program = program_of(task)
        program.head.output.bias += 0.01
        return program

    monkeypatch.setattr(torch_program, "program_of", wrong)
    with pytest.raises(RunFailed, match=r"model.pt2 must compute .* differs by 1.00e-02"):
        torch_program.write(subject, tmp_path)


def test_tasks_that_write_text_are_refused_by_name() -> None:
    for task, other in (("translation", "format=ctranslate2"), ("generative_qa", "safetensors")):
        (fault,) = program_faults(compose("train", [f"task={task}"]), "onnx")
        assert f"the run's task is {task}, which writes text in a loop" in fault.problem
        assert other in fault.remedy
    assert program_faults(compose("train", ["task=qa"]), "onnx") == []
