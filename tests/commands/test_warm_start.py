"""A run that starts from the weights of another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.arguments import parse_arguments
from heed.commands.assemble import assemble
from heed.commands.trained import load_parts, read_request
from heed.commands.warm_start import load_backbone
from heed.errors import UserError


@pytest.fixture
def parts(run_folder: Callable[..., Path]) -> Callable[..., Any]:
    """The parts of a shared run: trained, or fresh with the config changed."""

    def build(task: str, *changes: str, fresh: bool, tokenizer: str = "") -> Any:
        words = [f"run={run_folder(task)}", *changes]
        request = read_request("evaluate", parse_arguments(words, usage=""))
        if not fresh:
            return load_parts(request.record, request.config, "best")[0]
        return assemble(request.config, tokenizer_dir=run_folder(tokenizer or task) / "tokenizer")

    return build


def test_the_backbone_is_the_other_runs(
    parts: Callable[..., Any], run_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    start = f"model.init_from={run_folder('translation')}"
    trained = parts("translation", fresh=False).task.backbone.state_dict()
    started = parts("translation", start, fresh=True).task.backbone.state_dict()
    unrelated = parts("translation", fresh=True).task.backbone.state_dict()
    assert all(trained[name].equal(started[name]) for name in trained)
    assert not all(trained[name].equal(unrelated[name]) for name in trained)
    out = capsys.readouterr().out
    assert f"{len(trained)} of {len(trained)} tensors" in out


def test_an_encoder_starts_from_an_encoder_decoder(
    parts: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    source = parts("translation", fresh=False).task.backbone.state_dict()
    backbone = parts("sentiment", fresh=True, tokenizer="translation").task.backbone
    assert load_backbone(backbone, str(run_folder("translation"))) == []
    own = backbone.state_dict()
    assert all(own[name].equal(source[name]) for name in own)


def test_another_size_is_refused(
    parts: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    start = f"model.init_from={run_folder('translation')}"
    with pytest.raises(UserError, match="must have a model of the same size, but its .* is"):
        parts("translation", start, "model.d_feed_forward=32", fresh=True)


def test_a_run_that_is_none_is_refused(heed: Callable[..., Any], tiny: list[str]) -> None:
    answer = heed("train", *tiny, "model.init_from=none")
    assert answer.code == 2
    assert "model.init_from must be the folder of a run, but none does not exist" in answer.err


def test_the_start_may_be_gone_once_it_has_been_made(
    heed: Callable[..., Any],
    tiny: list[str],
    run_folder: Callable[..., Path],
    tmp_path: Path,
    only_run: Callable[..., Path],
) -> None:
    start = Path(shutil.copytree(run_folder("sentiment"), tmp_path / "start"))
    words = [
        "task=sentiment",
        *tiny,
        f"model.init_from={start}",
        "tokenizer=file",
        f"tokenizer.path={start / 'tokenizer'}",
    ]
    words = [word for word in words if not word.startswith("tokenizer.vocabulary_size")]
    answer = heed("train", *words, f"paths.output_dir={tmp_path / 'runs'}")
    assert answer.code == 0, answer.err
    assert "started from" in answer.out
    run = only_run(tmp_path / "runs")
    shutil.rmtree(start)
    resumed = heed("train", f"resume={run}", "trainer.max_steps=4")
    assert resumed.code == 0, resumed.err
    assert "started from" not in resumed.out
    evaluated = heed("evaluate", f"run={run}")
    assert evaluated.code == 0, evaluated.err
    predicted = heed("predict", f"run={run}", typed="fine\n")
    assert predicted.code == 0, predicted.err
