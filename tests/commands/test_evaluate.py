"""`heed evaluate`: the scores that training gave, other splits, other decoding, other data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lines = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def copied(run_folder: Callable[..., Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a trained run, to write into."""

    def copy(task: str) -> Path:
        ignored = shutil.ignore_patterns("validation-*", "test-*")  # of other tests
        return Path(shutil.copytree(run_folder(task), tmp_path / f"{task}_run", ignore=ignored))

    return copy


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A folder of one's own texts with labels."""
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = "a fine film,good\na poor film,bad\n"
    for split, times in (("train", 20), ("validation", 4), ("test", 5)):
        (folder / f"{split}.csv").write_text("text,label\n" + rows * times)
    return folder


@pytest.mark.parametrize("task", ["translation", "sentiment", "qa"])
def test_it_gives_what_training_gave(
    task: str,
    heed: Callable[..., Any],
    copied: Callable[[str], Path],
    record: Callable[..., dict[str, Any]],
    lines: Lines,
) -> None:
    run = copied(task)
    before = (run / "run.json").read_bytes()
    answer = heed("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    report = json.loads((run / "predictions" / "test-best.scores.json").read_text())
    expected = {k: v for k, v in record(run)["metrics"].items() if k.startswith("test/")}
    assert report["scores"] == pytest.approx(expected)
    assert report["checkpoint"] == Path(record(run)["best_checkpoint"]).name
    assert lines(run / "predictions" / "test-best.jsonl") == lines(
        run / "predictions" / "test.jsonl"
    )
    assert (run / "run.json").read_bytes() == before


def test_another_split_and_a_free_name(
    heed: Callable[..., Any],
    copied: Callable[[str], Path],
    record: Callable[..., dict[str, Any]],
    lines: Lines,
) -> None:
    run = copied("sentiment")
    for number in (1, 2):
        answer = heed("evaluate", f"run={run}", "split=validation")
        assert answer.code == 0, answer.err
        stem = "validation-best" + ("-2" if number == 2 else "")
        report = json.loads((run / "predictions" / f"{stem}.scores.json").read_text())
        loss = record(run)["metrics"]["val/loss"]
        assert report["scores"]["validation/loss"] == pytest.approx(loss)
        assert len(lines(run / "predictions" / f"{stem}.jsonl")) == 11
    assert f"{run.name}/predictions/validation-best-2.jsonl" in answer.out


def test_decoding_can_differ(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path, lines: Lines
) -> None:
    words = ["decoding=beam", "decoding.beam_size=3", "decoding.n_best=2", "decoding.max_length=5"]
    output = tmp_path / "beam.jsonl"
    answer = heed("evaluate", f"run={run_folder('translation')}", *words, f"output={output}")
    assert answer.code == 0, answer.err
    assert all(len(one["alternatives"]) == 2 for one in lines(output))
    assert json.loads((tmp_path / "beam.scores.json").read_text())["overrides"] == words


def test_other_data_of_ones_own(
    heed: Callable[..., Any],
    tiny_model: list[str],
    own_data: Path,
    tmp_path: Path,
    only_run: Callable[..., Path],
    lines: Lines,
) -> None:
    words = ["task=sentiment", "data=local", f"data.path={own_data}", *tiny_model]
    cache = tmp_path / "cache"
    places = [f"paths.output_dir={tmp_path / 'runs'}", f"paths.cache_dir={cache}"]
    answer = heed("train", *words, *places)
    assert answer.code == 0, answer.err
    run = only_run(tmp_path / "runs")
    tokenizers = sorted(path for path in cache.rglob("*") if "tokenizer" in str(path))
    assert tokenizers

    other = tmp_path / "other"
    other.mkdir()
    (other / "train.csv").write_text("review,label\nan utterly different text,good\n" * 7)
    (other / "test.csv").write_text("review,label\nfine,good\npoor,bad\ndull,bad\n")
    changes = [f"data.path={other}", "data.columns.text=review", f"output={tmp_path / 'o.jsonl'}"]
    answer = heed("evaluate", f"run={run}", *changes)
    assert answer.code == 0, answer.err
    assert len(lines(tmp_path / "o.jsonl")) == 3
    assert sorted(p for p in cache.rglob("*") if "tokenizer" in str(p)) == tokenizers

    shutil.rmtree(own_data)
    answer = heed("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert "The data cannot be had (data.path must be a folder or a file, but " in answer.out
    shutil.rmtree(cache)
    answer = heed("evaluate", f"run={run}")
    assert answer.code == 2
    assert f"data.path must be a folder or file, but {own_data} does not exist" in answer.err
    answer = heed("predict", f"run={run}", typed="a fine film\n")
    assert (answer.code, answer.out.count("\n")) == (0, 1), answer.err


def test_labels_that_the_run_has_not_are_left_out_or_refused(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("text,label\nfine,positive\n")
    (tmp_path / "test.csv").write_text("text,label\nfine,positive\npoor,dreadful\n")
    words = [f"run={run_folder('sentiment')}", "data=local", f"data.path={tmp_path}"]
    answer = heed("evaluate", *words, "data.invalid=error", f"output={tmp_path / 'o.jsonl'}")
    assert answer.code == 2
    assert "label is not in the label set" in answer.err
    assert "dreadful" in answer.err


def test_the_last_checkpoint_and_a_name(
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    tmp_path: Path,
    record: Callable[..., dict[str, Any]],
) -> None:
    run = run_folder("sentiment")
    best = Path(record(run)["best_checkpoint"]).name
    for which in ("last", "last.ckpt", best, run / "checkpoints" / best):
        words = [f"output={tmp_path / 'o.jsonl'}", "overwrite=true"]
        answer = heed("evaluate", f"run={run}", f"checkpoint='{which}'", *words)
        assert answer.code == 0, answer.err
    answer = heed("evaluate", f"run={run}", "checkpoint=step5")
    assert answer.code == 2
    assert "checkpoint=step5 is not in" in answer.err
    assert f"there is last.ckpt, {best}" in answer.err


def test_a_limit_of_the_run_is_told(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path, lines: Lines
) -> None:
    words = [f"output={tmp_path / 'o.jsonl'}", "data.batch_size=5", "data.max_tokens=null"]
    run = run_folder("sentiment")
    answer = heed("evaluate", f"run={run}", *words, "trainer.limit_test_batches=2")
    assert answer.code == 0, answer.err
    assert "limited to 2 of 3 batches" in answer.out
    assert len(lines(tmp_path / "o.jsonl")) <= 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["split=valid"], "split must be one of train, validation, test, but is 'valid'; did you"),
        (["splt=test"], "splt is not a key of the run's config; did you mean 'split'?"),
        (["output=there.jsonl"], "output=there.jsonl exists; give another name, or overwrite=true"),
        (["output=folder"], "output must be a file, but folder is a folder"),
        (["-m", "seed=1,2"], "heed evaluate works on one run at a time, and has no -m"),
        (["model.d_model=32"], "must fit the run's model, but does not"),
        (["decoding.length_penalty=2"], "decoding.length_penalty is not a key"),
        (["data.max_tokens=0"], "data.max_tokens must be"),
    ],
)
def test_mistakes_are_named(
    words: list[str],
    told: str,
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "there.jsonl").write_text("kept")
    (tmp_path / "folder").mkdir()
    run = os.path.relpath(run_folder("sentiment"), tmp_path)
    if words[0].startswith("decoding"):
        run = os.path.relpath(run_folder("translation"), tmp_path)
    answer = heed("evaluate", f"run={run}", *words, where=tmp_path)
    assert answer.code == 2, answer.err
    assert told in answer.err
    assert (tmp_path / "there.jsonl").read_text() == "kept"


def test_cfg_shows_the_amended_config(
    heed: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    answer = heed("evaluate", f"run={run_folder('sentiment')}", "data.max_tokens=77", "--cfg")
    assert answer.code == 0
    assert "max_tokens: 77" in answer.out
