"""Language models through the commands: train, resume, predict, check, any data set's texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.check import by_part, models
from heed.commands.compose import compose
from heed.commands.rules import validate
from heed.sweeps.objective import read_objectives
from heed.tracking.digest import higher_is_better

Heed = Callable[..., Any]
Folder = Callable[[str], Path]


def test_masks_are_filled_and_a_line_without_text_stays_empty(
    heed: Heed, run_folder: Folder
) -> None:
    words = ["predict", f"run={run_folder('masked_lm')}", "format=jsonl"]
    answer = heed(*words, typed="the [MASK] was <mask>\n\nall there\n")
    assert answer.code == 0, answer.err
    two, empty, none = map(json.loads, answer.out.splitlines())
    assert [len(candidates) for candidates in two["masks"]] == [5, 5]
    assert empty == {"prediction": ""}
    assert none == {"prediction": "all there", "masks": []}


def test_a_text_goes_on_in_every_way_of_decoding(heed: Heed, run_folder: Folder) -> None:
    words = ["predict", f"run={run_folder('causal_lm')}", "format=jsonl", "decoding.max_length=4"]
    for way in (["decoding=greedy"], ["decoding=beam", "decoding.n_best=2"], ["decoding=sample"]):
        answer = heed(*words, *way, typed="the plot was\nI\n")
        assert answer.code == 0, answer.err
        found = [json.loads(line) for line in answer.out.splitlines()]
        assert [type(one["prediction"]) for one in found] == [str, str]
        assert [len(one.get("alternatives", "x")) for one in found] == (
            [2, 2] if "decoding=beam" in way else [1, 1]
        )


def test_a_run_says_what_may_be_typed_next(trained: Callable[..., tuple[Path, Any]]) -> None:
    assert "[MASK]" in trained("masked_lm")[1].out
    out = trained("causal_lm")[1].out
    assert "bits_per_byte" in out
    assert "0.0% padding" in out  # packed


def test_a_resumed_run_hides_what_it_would_have_hidden(
    heed: Heed,
    tiny: list[str],
    run_folder: Folder,
    tmp_path: Path,
    only_run: Callable[[Path], Path],
    weights: Callable[[Path], dict[str, Any]],
) -> None:
    """Five batches an epoch: the resume is within one epoch, and goes on into the next."""
    run = Path(shutil.copytree(run_folder("masked_lm"), tmp_path / "outputs" / "run"))
    assert heed("train", f"resume={run}", "trainer.max_steps=7").code == 0
    words = ["task=masked_lm", *tiny, "trainer.max_steps=7", f"paths.output_dir={tmp_path / 'w'}"]
    assert heed("train", *words).code == 0
    one, other = weights(run), weights(only_run(tmp_path / "w"))
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize(
    ("more", "language"), [([], "en"), (["+data.columns.text=de"], "de")], ids=["source", "named"]
)
def test_the_texts_of_another_tasks_data_serve(
    heed: Heed,
    tiny_model: list[str],
    tmp_path: Path,
    lines: Callable[[Path], list[dict[str, Any]]],
    only_run: Callable[[Path], Path],
    more: list[str],
    language: str,
) -> None:
    for split in ("train", "validation", "test"):
        for side in ("en", "de"):
            text = "".join(f"{split} {side} {number} a dog runs\n" for number in range(13))
            (tmp_path / f"{split}.{side}").write_text(text)
    words = ["task=masked_lm", "data=multi30k", f"data.path={tmp_path}", *tiny_model, *more]
    answer = heed("train", *words, "trainer.max_steps=1", f"paths.output_dir={tmp_path / 'runs'}")
    assert answer.code == 0, answer.err
    found = lines(only_run(tmp_path / "runs") / "predictions" / "test.jsonl")
    assert [row["references"] for row in found] == [
        [f"test {language} {number} a dog runs"] for number in range(13)
    ]


@pytest.mark.parametrize("data", ["sst2", "squad", "dialogsum", "imdb"])
def test_every_data_set_has_texts(data: str) -> None:
    validate(compose("train", ["task=causal_lm", f"data={data}"]))


@pytest.mark.parametrize("task", ["masked_lm", "causal_lm"])
def test_check_counts_the_parameters_of_a_run(
    task: str,
    run_folder: Folder,
    record: Callable[[Path], dict[str, Any]],
    frozen: Callable[..., dict[str, Any]],
    tiny: list[str],
) -> None:
    backbone, head = models(frozen(f"task={task}", *tiny), (300, None))
    counted = sum(count for _, count in by_part(backbone, head))
    assert counted == record(run_folder(task))["parameters"]


def test_check_tells_of_packed_rows(heed: Heed, tmp_path: Path) -> None:
    cache = f"paths.cache_dir={tmp_path}"
    whole = heed("check", "task=causal_lm", cache, "task.preparation.packed=false")
    packed = heed("check", "task=causal_lm", cache)
    assert "12,000 rows" in whole.out
    assert "12,000 rows" not in packed.out
    assert packed.code == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["task=masked_lm", "model.shape=decoder"],
            "model.shape must be encoder for task=masked_lm, but is 'decoder'",
        ),
        (
            ["task=causal_lm", "model.shape=encoder_decoder"],
            "model.shape must be decoder for task=causal_lm, but is 'encoder_decoder'",
        ),
        (
            ["task=masked_lm", "task.preparation.hidden_share=0"],
            "task.preparation.hidden_share must be more than 0 and less than 1, but is 0",
        ),
        (
            ["task=masked_lm", "data.columns.txt=a"],
            "data.columns.txt is not a column of texts records",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    told: Callable[..., list[str]], words: list[str], fault: str
) -> None:
    assert [one for one in told(validate, compose("train", words)) if one.startswith(fault)]


def test_fewer_bits_are_better() -> None:
    assert not higher_is_better("test/bits_per_byte")
    assert higher_is_better("test/token_accuracy")
    (objective,) = read_objectives(["val/bits_per_byte"], None, monitor="val/loss", mode="min")
    assert objective.mode == "min"
