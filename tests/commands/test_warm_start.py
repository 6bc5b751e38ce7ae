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
from heed.commands.warm_start import start_from
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
    count = len(trained) + 1  # the head's table is the embeddings
    assert f"(translation): {count} of {count} tensors" in out
    assert "fresh" not in out
    assert "left out" not in out


def test_an_encoder_starts_from_an_encoder_decoder(
    parts: Callable[..., Any], run_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = parts("translation", fresh=False).task.backbone.state_dict()
    task = parts("sentiment", fresh=True, tokenizer="translation").task
    head = {name: tensor.clone() for name, tensor in task.head.state_dict().items()}
    capsys.readouterr()
    carried = start_from(task, str(run_folder("translation")))
    own = task.backbone.state_dict()
    assert all(own[name].equal(source[name]) for name in own)
    assert all(tensor.equal(task.head.state_dict()[name]) for name, tensor in head.items())
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  carried over  encoder embeddings, encoder layers, encoder norm",
        "  fresh         head",
        "  left out      decoder embeddings, decoder layers, decoder norm, head of translation",
    ]
    assert carried.record()["fresh"] == {"head": len(head)}


def test_an_encoder_decoder_starts_from_a_masked_language_model(
    parts: Callable[..., Any], run_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = parts("masked_lm", fresh=False).task.backbone.state_dict()
    task = parts("translation", fresh=True, tokenizer="masked_lm").task
    before = {name: tensor.clone() for name, tensor in task.backbone.state_dict().items()}
    capsys.readouterr()
    start_from(task, str(run_folder("masked_lm")))
    own = task.backbone.state_dict()
    assert all(own[name].equal(source[name]) for name in source)
    table = own["encoder.embeddings.tokens.weight"]
    assert own["decoder.embeddings.tokens.weight"].equal(table)  # which the two sides share
    assert task.head.output.weight.equal(table)
    fresh = [name for name in own if name.startswith(("decoder.layers", "decoder.norm"))]
    assert all(own[name].equal(before[name]) for name in fresh)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  carried over  encoder embeddings, encoder layers, encoder norm, "
        "decoder embeddings, head",
        "  fresh         decoder layers, decoder norm",
        "  left out      head of masked_lm",
    ]


def test_a_decoder_gives_an_encoder_decoder_all_but_the_sight_of_the_source(
    parts: Callable[..., Any], run_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = parts("causal_lm", fresh=False).task.backbone.state_dict()
    task = parts("translation", fresh=True, tokenizer="causal_lm").task
    capsys.readouterr()
    start_from(task, str(run_folder("causal_lm")))
    own = task.backbone.state_dict()
    assert all(own[name].equal(source[name]) for name in source)
    out = capsys.readouterr().out
    assert (
        "  in part       decoder layers (12 of 20 tensors; "
        "fresh: cross_attention, cross_attention_residual)\n"
    ) in out


def test_a_masked_language_model_goes_on_with_its_head(
    parts: Callable[..., Any], run_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = parts("masked_lm", fresh=False).task.state_dict()
    start = f"model.init_from={run_folder('masked_lm')}"
    own = parts("masked_lm", start, fresh=True).task.state_dict()
    assert all(own[name].equal(source[name]) for name in own if name.startswith("head."))
    assert "fresh" not in capsys.readouterr().out


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
    record: Callable[[Path], dict[str, Any]],
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
    kept = record(run)["lineage"]["init_from"]
    assert kept["carried_over"]["encoder layers"] == 12
    assert kept["fresh"] == {"head": 2}
    assert kept["left_out"] == {"head": 2}
    shutil.rmtree(start)
    resumed = heed("train", f"resume={run}", "trainer.max_steps=4")
    assert resumed.code == 0, resumed.err
    assert "started from" not in resumed.out
    evaluated = heed("evaluate", f"run={run}")
    assert evaluated.code == 0, evaluated.err
    predicted = heed("predict", f"run={run}", typed="fine\n")
    assert predicted.code == 0, predicted.err
