"""`heed export` with trained runs: what it writes, that it can be used, and what it refuses."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.exported import load_exported
from heed.errors import UserError
from heed.exporting import verification

TEXT = {"text": "It was a fine day."}
Heed = Callable[..., Any]
Runs = Callable[..., Path]


def run_readme(folder: Path) -> str:
    """What the Python of a model card prints, run as it stands beside the folder."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    python = readme.split("```python\n")[1].split("```")[0]
    out = io.StringIO()
    before = Path.cwd()
    os.chdir(folder.parent)
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(python, "README.md", "exec"), {})
    finally:
        os.chdir(before)
    return out.getvalue()


@pytest.fixture(scope="module")
def shared(heed: Heed, run_folder: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentiment run as safetensors."""
    output = tmp_path_factory.mktemp("exports") / "weights"
    answer = heed(
        "export", f"run={run_folder('sentiment')}", "format=safetensors", f"output={output}"
    )
    assert answer.code == 0, answer.err
    assert "checked      Logits, on 13 examples (the run's test split): largest diff" in answer.out
    assert f"written to   {output} (" in answer.out
    return output


def test_weights_predict_as_the_run_does(heed: Heed, run_folder: Runs, shared: Path) -> None:
    answer = heed(
        "predict", f"run={run_folder('sentiment')}", "format=jsonl", typed=TEXT["text"] + "\n"
    )
    assert ast.literal_eval(run_readme(shared)) == [json.loads(answer.out)]
    assert sorted(path.name for path in shared.iterdir()) == [
        *("README.md", "config.yaml", "export.json", "model.safetensors", "tokenizer")
    ]
    report = json.loads((shared / "export.json").read_text(encoding="utf-8"))
    assert report["verified"]["largest_difference"] == 0.0
    assert report["labels"] == ["negative", "positive"]
    assert (shared / "model.safetensors").stat().st_mode == (shared / "README.md").stat().st_mode


def test_exported_folders_may_be_a_strangers(shared: Path, tmp_path: Path) -> None:
    for name, old, new, told in (
        ("config.yaml", "heed.tasks.sentiment.Sentiment", "os.system", "task._target_"),
        ("export.json", '"safetensors"', '"onnx"', "must be an export with format=safetensors"),
        ("config.yaml", "d_model: 16", "d_model: 32", "model.safetensors must fit config.yaml"),
    ):
        copy = tmp_path / f"{name}{len(new)}"
        shutil.copytree(shared, copy)
        text = (copy / name).read_text(encoding="utf-8")
        assert old in text
        (copy / name).write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(UserError, match=told):
            load_exported(copy)
    with pytest.raises(UserError, match=r"must be what heed export wrote, but export.json"):
        load_exported(tmp_path)


def test_a_program_runs_without_heed(heed: Heed, run_folder: Runs) -> None:
    run = run_folder("sentiment")
    answer = heed("export", f"run={run}", "format=torch_export", "examples=3")
    assert answer.code == 0, answer.err
    folder = run / "exports" / "torch_export"
    assert "Logits, on 3 examples" in (folder / "README.md").read_text(encoding="utf-8")
    typed = heed("predict", f"run={run}", "format=jsonl", typed=TEXT["text"] + "\n").out
    expected = list(json.loads(typed)["probabilities"].values())
    import torch

    printed = run_readme(folder)
    logits = torch.tensor(ast.literal_eval(printed[printed.index("[[") : printed.index("]]") + 2]))
    assert torch.allclose(logits.softmax(-1)[0], torch.tensor(expected), atol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="no ctranslate2")
def test_translations_of_the_engine(heed: Heed, run_folder: Runs, tmp_path: Path) -> None:
    run = run_folder("translation")
    answer = heed("export", f"run={run}", "format=ctranslate2", f"output={tmp_path / 'engine'}")
    assert answer.code == 0, answer.err
    assert "greedy: 13 of 13 texts the same; beam 5: 13 of 13 texts the same" in answer.out
    words = [f"run={run}", "decoding=beam", "decoding.max_length=256"]
    words += ["decoding.max_length_ratio=null", "decoding.early_stopping=true"]
    typed = heed("predict", *words, typed=TEXT["text"] + "\n")
    assert run_readme(tmp_path / "engine").split() == typed.out.split()


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="no onnxruntime")
@pytest.mark.learning
def test_a_graph_of_a_trained_run(heed: Heed, run_folder: Runs, tmp_path: Path) -> None:
    output = tmp_path / "graph"
    answer = heed("export", f"run={run_folder('qa')}", "format=onnx", f"output={output}")
    assert answer.code == 0, answer.err
    assert run_readme(output).startswith("[array([[")


def test_nothing_is_overwritten(heed: Heed, run_folder: Runs, tmp_path: Path) -> None:
    run = run_folder("sentiment")
    for name in ("safetensors", "safetensors-2"):
        answer = heed("export", f"run={run}", "format=safetensors", "examples=1")
        assert answer.code == 0, answer.err
        assert (run / "exports" / name / "export.json").is_file()
    (tmp_path / "mine").mkdir()
    words = [f"run={run}", "format=safetensors", f"output={tmp_path / 'mine'}"]
    answer = heed("export", *words)
    assert answer.code == 2
    assert "exists, and an export overwrites nothing; give another name" in answer.err


def test_an_export_that_differs_leaves_nothing(
    heed: Heed, run_folder: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "relative", lambda ours, theirs: 0.125)
    words = [f"run={run_folder('sentiment')}", "format=safetensors"]
    answer = heed("export", *words, f"output={tmp_path / 'mine'}")
    assert answer.code == 1
    assert "must compute what the model does, but differs by 1.25e-01" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_without_its_data_texts_are_made(heed: Heed, run_folder: Runs, tmp_path: Path) -> None:
    for task in ("sentiment", "qa", "translation"):
        words = [f"run={run_folder(task)}", "data=local", f"data.path={tmp_path / 'none'}"]
        answer = heed(
            "export", *words, "format=safetensors", f"output={tmp_path / task}", "examples=5"
        )
        assert answer.code == 0, answer.err
        assert "on 5 examples (texts made of the vocabulary, since" in answer.out


@pytest.mark.parametrize(
    ("task", "words", "told"),
    [
        ("sentiment", [], "format must be one of safetensors, torch_export, onnx, ctranslate2, hf"),
        ("sentiment", ["format=onx"], "but is onx; did you mean 'onnx'?"),
        ("sentiment", ["format=ctranslate2"], "is for encoder-decoders that write text"),
        ("translation", ["format=torch_export"], "use format=ctranslate2 or format=safetensors"),
        ("sentiment", ["format=safetensors", "examples=0"], "examples must be a whole number"),
        ("sentiment", ["format=safetensors", "tolerance=big"], "tolerance must be a number"),
        ("sentiment", ["format=safetensors", "quantization=int8"], "is for format=ctranslate2"),
        ("sentiment", ["format=safetensors", "checkpoint=none.ckpt"], "checkpoint=none.ckpt is"),
        ("sentiment", ["format=safetensors", "fromat=a"], "did you mean 'format'?"),
        ("sentiment", ["-m", "format=safetensors"], "heed export works on one run at a time"),
    ],
)
def test_mistakes_are_named(
    task: str, words: list[str], told: str, heed: Heed, run_folder: Runs, tmp_path: Path
) -> None:
    answer = heed("export", f"run={run_folder(task)}", *words, f"output={tmp_path / 'mine'}")
    assert answer.code == 2, answer.err
    assert told in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named(
    heed: Heed, run_folder: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    answer = heed("export", f"run={run_folder('sentiment')}", "format=onnx")
    assert answer.code == 2
    assert "format=onnx needs onnxscript, which is not installed" in answer.err
    assert "pip install 'heed-nlp[onnx]'" in answer.err
