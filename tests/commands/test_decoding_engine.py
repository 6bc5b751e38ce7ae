"""`decoding.engine=ctranslate2` in predict and evaluate: the same texts, and refusals in words."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.decoding_engine import engine_faults

ENGINE = "decoding.engine=ctranslate2"
TEXTS = "one\n\ntwo words\na man and a dog\nred\n"


@pytest.mark.parametrize(
    "words", [["decoding=greedy"], ["decoding=beam", "decoding.early_stopping=true"]]
)
def test_the_engine_predicts_the_same(
    words: list[str],
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ctranslate2")
    from heed.exporting import ctranslate_engine

    made = []
    engine = ctranslate_engine.CTranslateEngine

    def counted(*given: Any, **named: Any) -> Any:
        made.append(engine(*given, **named))
        return made[-1]

    monkeypatch.setattr(ctranslate_engine, "CTranslateEngine", counted)
    run = f"run={run_folder('translation')}"
    expected, found = (
        heed("predict", run, *words, *more, typed=TEXTS) for more in ([], [ENGINE, "workers=2"])
    )
    assert found.code == 0, found.err
    assert found.out == expected.out
    assert len(made) == 1


def test_the_engine_gives_alternatives_in_int8(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("ctranslate2")
    (tmp_path / "in.txt").write_text(TEXTS)
    words = [f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.jsonl'}"]
    int8 = ["decoding=beam", ENGINE, "decoding.compute_type=int8", "decoding.n_best=2"]
    answer = heed("predict", f"run={run_folder('translation')}", *words, *int8)
    assert answer.code == 0, answer.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(row.get("alternatives", [])) for row in rows] == [2, 0, 2, 2, 2]
    for row in rows:
        scores = [one["score"] for one in row.get("alternatives", [])]
        assert scores == sorted(scores, reverse=True)


def test_the_engine_evaluates_the_same(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("ctranslate2")
    run, found = f"run={run_folder('translation')}", {}
    for name, more in (("heed", []), ("engine", [ENGINE])):
        output = tmp_path / f"{name}.jsonl"
        answer = heed("evaluate", run, "decoding=greedy", f"output={output}", *more)
        assert answer.code == 0, answer.err
        found[name] = output.read_text()
    assert found["engine"] == found["heed"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([ENGINE, "decoding.compute_type=int3"], "decoding.compute_type must be null or one of"),
        (["decoding.engine=marian"], "decoding.engine must be"),
        (["decoding=sample", ENGINE], "engine"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, heed: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    pytest.importorskip("ctranslate2")
    answer = heed("predict", f"run={run_folder('translation')}", *words, typed=TEXTS)
    assert answer.code == 2
    assert told in answer.err
    assert "Traceback" not in answer.err


def test_other_models_are_refused(heed: Callable[..., Any]) -> None:
    answer = heed("train", "model.shape=decoder", ENGINE)
    assert answer.code == 2
    assert "decoding.engine=ctranslate2 is for encoder-decoders that write text" in answer.err


def test_an_engine_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (fault,) = engine_faults({"decoding": {"engine": "ctranslate2"}})
    assert "ctranslate2, which is not installed" in fault.problem
    assert "pip install 'heed-nlp[ctranslate2]'" in fault.remedy
    assert engine_faults({"decoding": {"engine": "heed"}}) == []
    assert engine_faults({"decoding": {"beam_size": 5}}) == []
