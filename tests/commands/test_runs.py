"""`heed runs` and `heed runs prune`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run

from heed.tracking.lock import run_lock

BEST, LAST, OLD = "step=000007-val_accuracy=9.ckpt", "last.ckpt", "step=000003-val_accuracy=8.ckpt"


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A folder with four good runs and a broken one below outputs."""
    for number in range(4):
        make_run(
            tmp_path / "outputs" / "sentiment" / "default" / f"run-{number}",
            changes={"seed": number, "choices.model": ("tiny", "small")[number % 2]},
            metrics={"val/accuracy": 50.0 + number, "val/loss": 2.0},
            started=f"2026-01-0{number + 1}T00:00:00+00:00",
            phases={"training": 143.2},
            status="failed" if number == 3 else "done",
        )
    (tmp_path / "outputs" / "torn").mkdir()
    (tmp_path / "outputs" / "torn" / "run.json").write_text("{", "utf-8")
    return tmp_path


@pytest.fixture
def runs(heed: Callable[..., Any], where: Path) -> Callable[..., Any]:
    """`runs("seed=1")` is `heed runs seed=1`, standing beside outputs."""
    return lambda *words: heed("runs", *words, where=where)


def test_a_list_for_people(runs: Callable[..., Any]) -> None:
    said = runs("status!=broken")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split() == ["status", "score", "steps", "time", "begun", "run", "folder"]
    folders = [line.split()[-1] for line in lines[1:]]
    assert folders == [f"outputs/sentiment/default/run-{n}" for n in (3, 2, 1, 0)]
    assert "failed  val/accuracy 53.00     10  0:02:23  2026-01-0" in lines[1]
    assert said.err.count("\n") == 1
    assert said.err.startswith("note: a run folder cannot be read: ")
    assert "outputs/torn/run.json must be JSON, but is broken" in said.err


def test_conditions_order_and_limit(runs: Callable[..., Any]) -> None:
    words = ("status=done", "model=tiny", "sort=val/accuracy", "format=folder")
    assert runs(*words).out.split() == [f"outputs/sentiment/default/run-{n}" for n in (2, 0)]
    assert runs(*words, "limit=1").out.split() == ["outputs/sentiment/default/run-2"]
    best = runs("status=done", "best=val/accuracy", "format=folder")
    assert best.out.split() == ["outputs/sentiment/default/run-2"]
    assert runs("val/accuracy>=51", "seed<3", "format=folder").out.count("\n") == 2


def test_lists_for_programs(runs: Callable[..., Any], where: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(runs("format=csv", "columns=optimizer.lr").out)))
    assert len(rows) == 5
    assert [row["status"] for row in rows] == ["failed", "done", "done", "done", "broken"]
    assert (rows[0]["val/accuracy"], rows[0]["optimizer.lr"]) == ("53.0", "0.001")
    assert "must be JSON" in rows[4]["fault"]
    lines = [json.loads(line) for line in runs("format=jsonl", "seed=2").out.splitlines()]
    assert lines[0]["metrics"] == {"val/accuracy": 52.0, "val/loss": 2.0}
    assert lines[0]["folder"] == os.path.realpath(where / "outputs/sentiment/default/run-2")
    table = runs("format=markdown", "seed=2", "columns=model").out.splitlines()
    assert table[0] == "| status | score | model | steps | time | begun | run folder |"
    assert table[1] == "|---|---|---:|---:|---:|---|---|"

    said = runs("output=found/list.csv", "seed=2")
    assert said.out == "written to found/list.csv\n"
    assert (where / "found" / "list.csv").read_text("utf-8").count("\n") == 2
    again = runs("output=found/list.csv", "seed=2")
    assert (again.code, again.err) == (
        2,
        "error: output=found/list.csv exists; give another name, or overwrite=true\n",
    )


def test_a_folder_whose_name_is_no_text_is_listed(runs: Callable[..., Any], where: Path) -> None:
    make_run(Path(os.fsdecode(os.fsencode(where) + b"/odd/a\xff\x1b")))
    assert "a\\udcff\\x1b" in runs("odd").out
    for kind in ("csv", "jsonl", "folder", "markdown"):
        assert "\\udcff" in runs("odd", f"format={kind}").out


def test_nothing_found_is_said(runs: Callable[..., Any], where: Path) -> None:
    said = runs("seed=77")
    assert (said.code, said.out) == (0, "")
    assert "none of the 5 runs below outputs meets all conditions" in said.err
    (where / "empty").mkdir()
    assert "there are no runs below empty" in runs("empty").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "runs are looked for in a folder, but nowhere does not exist"),
        (["optimzer.lr=1"], "did you mean 'optimizer.lr'?"),
        (["sort=val/acuracy"], "did you mean 'val/accuracy'?"),
        (["formt=csv"], "did you mean 'format'?"),
        (["format=xml"], "format must be one of terminal, markdown, csv, jsonl, latex, folder"),
        (["limit=0"], "limit must be a whole number of at least 1, but is '0'"),
        (["seed>x"], "seed> must be followed by a number, but 'x' is none"),
        (["output=list.doc"], "output=list.doc has a name that does not tell its format"),
        (["-m", "seed=1"], "of the options only --help"),
        (["prune", "keep=bst"], "keep must be best, last or none, but is 'bst'"),
        (["prune", "keep=none,last"], "keep must be none alone"),
        (["prune", "yes=1"], "yes must be true or false, but is '1'"),
    ],
)
def test_mistakes(words: list[str], said: str, runs: Callable[..., Any]) -> None:
    answer = runs(*words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("error: ") == 1


# Pruning ------------------------------------------------------------------------------------------


def with_checkpoints(run: Path, *, best: str | None = BEST) -> Path:
    """The best of 1000 bytes, with a second name as the last; an old one; a folder of shards."""
    folder = run / "checkpoints"
    folder.mkdir()
    for name in (BEST, OLD):
        (folder / name).write_bytes(bytes(1000))
    os.link(folder / BEST, folder / LAST)
    (folder / "step=000001.ckpt").mkdir()
    (folder / "step=000001.ckpt" / "shard-0").write_bytes(bytes(500))
    record = json.loads((run / "run.json").read_text("utf-8"))
    record["best_checkpoint"] = f"checkpoints/{best}" if best else None
    (run / "run.json").write_text(json.dumps(record), "utf-8")
    return folder


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folders(where: Path) -> list[Path]:
    runs = [where / "outputs" / "sentiment" / "default" / f"run-{n}" for n in range(4)]
    return [with_checkpoints(run) for run in runs]


def test_pruning_says_what_would_go_and_touches_nothing(
    runs: Callable[..., Any], folders: list[Path]
) -> None:
    before = [left(folder) for folder in folders]
    said = runs("prune", "keep=best", "seed=0")
    assert said.code == 0
    assert said.out == (
        "outputs/sentiment/default/run-0/checkpoints\n"
        f"  go    {LAST}, step=000001.ckpt, {OLD}: 1.5 kB\n"
        f"  stay  {BEST}\n"
        "1.5 kB would be free. Nothing was deleted; add yes=true to do it\n"
    )
    assert [left(folder) for folder in folders] == before


def test_pruning_deletes_what_it_said(
    runs: Callable[..., Any], folders: list[Path], record: Callable[[Path], dict[str, Any]]
) -> None:
    said = runs("prune", "keep=best", "yes=true")
    assert said.out.endswith("deleted: 6 kB are free now\n")
    assert [left(folder) for folder in folders[:3]] == [{BEST}] * 3
    assert left(folders[3]) == {BEST, LAST}  # it failed, and may go on from its last checkpoint
    assert "its status is 'failed', so the last one stays to go on from" in said.out
    assert record(folders[0].parent)["checkpoints"] == {"count": 1, "bytes": 1000}
    assert record(folders[0].parent)["status"] == "done"
    again = runs("prune", "keep=best", "yes=true")
    assert again.out == "nothing to delete: 5 runs below outputs were looked at\n"


def test_the_best_goes_only_where_that_is_asked_for(
    runs: Callable[..., Any], folders: list[Path], record: Callable[[Path], dict[str, Any]]
) -> None:
    runs("prune", "keep=last", "seed=0", "yes=true")
    assert left(folders[0]) == {BEST, LAST}
    runs("prune", "seed=1", "yes=true")
    assert left(folders[1]) == {BEST, LAST}
    said = runs("prune", "keep=none", "seed=2", "yes=true")
    assert left(folders[2]) == set()
    assert "deleted: 2.5 kB are free now" in said.out
    assert record(folders[2].parent)["best_checkpoint"] is None
    assert left(folders[3]) >= {BEST, LAST, OLD}


def test_without_a_best_checkpoint_the_last_stays(runs: Callable[..., Any], where: Path) -> None:
    run = where / "outputs" / "sentiment" / "default" / "run-0"
    folder = with_checkpoints(run, best="gone.ckpt")
    said = runs("prune", "keep=best", "seed=0", "yes=true")
    assert left(folder) == {LAST}
    assert "no best checkpoint is recorded, so the last one stays" in said.out


def test_a_run_in_use_is_left_alone(runs: Callable[..., Any], folders: list[Path]) -> None:
    with run_lock(folders[0].parent):
        said = runs("prune", "keep=best", "seed=0,1", "yes=true")
    assert "left alone: " in said.out
    assert "run-0 is in use by another heed command" in said.out
    assert left(folders[0]) == {BEST, LAST, OLD, "step=000001.ckpt"}
    assert left(folders[1]) == {BEST}


@pytest.mark.parametrize("status", ["running", "queued"])
def test_a_run_that_has_not_ended_is_left_alone(
    status: str, runs: Callable[..., Any], folders: list[Path]
) -> None:
    path = folders[0].parent / "run.json"
    path.write_text(path.read_text("utf-8").replace('"done"', f'"{status}"'), "utf-8")
    runs("prune", "keep=none", "seed=0", "yes=true")
    assert left(folders[0]) == {BEST, LAST, OLD, "step=000001.ckpt"}


def test_a_record_or_a_link_that_leads_out_has_nothing_deleted(
    runs: Callable[..., Any], where: Path, folders: list[Path]
) -> None:
    path = folders[0].parent / "run.json"
    path.write_text(path.read_text("utf-8").replace(f"checkpoints/{BEST}", "../../x"), "utf-8")
    folders[1].rename(where / "elsewhere")
    folders[1].symlink_to(where / "elsewhere")
    said = runs("prune", "keep=best", "seed=0,1", "yes=true")
    assert "left alone: best_checkpoint in " in said.out
    assert left(folders[0]) == left(where / "elsewhere") == {BEST, LAST, OLD, "step=000001.ckpt"}
