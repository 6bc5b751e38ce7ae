"""The index answers what the folders hold, whatever has happened to its file."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import make_run

from heed.tracking import run_index
from heed.tracking.digest import Digest, read_digest, with_news
from heed.tracking.run_index import list_runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An output folder with three runs at different depths."""
    for number, place in enumerate(("sentiment/a/1", "sentiment/a/2", "study/trial-1/seed=1")):
        make_run(
            tmp_path / "outputs" / place,
            changes={"seed": number, "optimizer.lr": 10.0**-number},
            metrics={"val/accuracy": 50.0 + number},
            started=f"2026-01-0{number + 1}T00:00:00+00:00",
        )
    return tmp_path / "outputs"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "runs.sqlite"


def seen(root: Path, index: Path) -> list[tuple[str, int | None, float | None]]:
    return [
        (one.folder.removeprefix(f"{os.path.realpath(root)}/"), one.seed, one.score)
        for one in list_runs(root, index=index)
    ]


THREE = [("study/trial-1/seed=1", 2, 52.0), ("sentiment/a/2", 1, 51.0), ("sentiment/a/1", 0, 50.0)]


def test_runs_are_listed_with_their_facts_newest_first(root: Path, index: Path) -> None:
    assert seen(root, index) == THREE
    for place, below in (("sentiment", THREE[1:]), ("sentiment/a/1", THREE[2:]), ("nothing", [])):
        found = [(one.seed, one.score) for one in list_runs(root / place, index=index)]
        assert found == [(seed, score) for _, seed, score in below]
    newest = list_runs(root, index=index)[0]
    assert (newest.task, newest.status, newest.monitor, newest.steps) == (
        *("sentiment", "done", "val/accuracy"),
        10,
    )
    assert newest.config["optimizer.lr"] == 0.01
    assert newest.config["choices.model"] == "tiny"


def test_what_is_known_is_not_read_again(
    root: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list_runs(root, index=index)
    read: list[str] = []
    monkeypatch.setattr(
        run_index, "read_digest", lambda folder: read.append(folder.name) or read_digest(folder)
    )
    again = list_runs(root, index=index)
    assert again == first
    assert [one.config for one in again] == [one.config for one in first]
    assert read == []

    record = root / "sentiment" / "a" / "1" / "run.json"
    fields = json.loads(record.read_text("utf-8"))
    fields["metrics"]["val/accuracy"] = 99.5  # as long as before
    before = record.stat()
    record.with_name("new").write_text(json.dumps(fields, indent=2) + "\n", "utf-8")
    assert record.with_name("new").stat().st_size == before.st_size
    os.utime(record.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    record.with_name("new").replace(record)
    assert seen(root, index)[2] == ("sentiment/a/1", 0, 99.5)
    assert read == ["1"]

    config = root / "sentiment" / "a" / "2" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("lr: 0.1", "lr: 0.25"), "utf-8")
    changed = {one.path.name: one.config["optimizer.lr"] for one in list_runs(root, index=index)}
    assert changed["2"] == 0.25
    assert read == ["1", "2"]


def test_a_run_that_is_gone_is_forgotten(root: Path, index: Path) -> None:
    seen(root, index)
    (root / "sentiment" / "a" / "1").rename(root / "sentiment" / "a" / ".gone")
    assert seen(root, index) == THREE[:2]
    rows = sqlite3.connect(index).execute("SELECT count(*) FROM runs").fetchone()
    assert rows == (2,)


@pytest.mark.parametrize("harm", ["garbage", "half", "zeros", "empty", "version", "rows", "table"])
def test_a_bad_index_is_made_again(harm: str, root: Path, index: Path) -> None:
    for number in range(50):  # enough for several pages
        make_run(root / "more" / str(number), changes={"seed": number})
    whole = seen(root, index)
    content = index.read_bytes()
    if harm == "garbage":
        index.write_bytes(b"no database" * 1000)
    elif harm == "half":
        index.write_bytes(content[: len(content) // 2])
    elif harm == "zeros":
        index.write_bytes(content[:4096] + bytes(len(content) - 4096))
    elif harm == "empty":
        index.write_bytes(b"")
    else:
        with sqlite3.connect(index) as database:
            database.execute(
                {
                    "version": "PRAGMA user_version = 999",
                    "rows": "UPDATE runs SET digest = '{\"nothing\": 1}', config = '['",
                    "table": "DROP TABLE runs",
                }[harm]
            )
    assert seen(root, index) == whole
    assert seen(root, index) == whole
    with sqlite3.connect(index) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (53,)


def test_without_a_place_for_an_index_runs_are_listed_all_the_same(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    assert seen(root, tmp_path / "file" / "runs.sqlite") == THREE


def test_an_index_that_another_process_holds_is_done_without(
    root: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(root, index)
    monkeypatch.setattr(run_index, "WAIT_SECONDS", 0.05)
    make_run(root / "new", changes={"seed": 7})
    with sqlite3.connect(index, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert len(seen(root, index)) == 4
        other.execute("ROLLBACK")
    assert len(seen(root, index)) == 4


def test_several_processes_fill_one_index(root: Path, index: Path) -> None:
    for number in range(60):
        make_run(root / "more" / str(number), changes={"seed": number})
    code = (
        "import sys; from pathlib import Path; from heed.tracking.run_index import list_runs\n"
        "for _ in range(3): print(len(list_runs(sys.argv[1], index=Path(sys.argv[2]))))"
    )
    words = [sys.executable, "-c", code, str(root), str(index)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [one.communicate()[0].split() for one in both] == [["63"] * 3] * 3
    with sqlite3.connect(index) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (63,)


def test_a_folder_name_that_is_no_text_is_listed(root: Path, index: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/odd\xff"))
    make_run(odd)
    for _ in range(2):
        assert odd.name in [one.path.name for one in list_runs(root, index=index)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "must be JSON"),
        ("[]", "must be a run record"),
        ('{"schema": 7, "versions": {"heed-nlp": "9.1"}}', "must have schema 1, but has 7"),
        ('{"schema": 1, "metrics": 3}', "metrics in"),
        ('{"schema": 1, "metrics": {"val/accuracy": []}}', "has odd values"),
        ('{"schema": 1, "phases": {"training": "x"}}', "has odd values"),
    ],
)
def test_a_broken_run_is_listed_as_such(content: str, said: str, root: Path, index: Path) -> None:
    (root / "sentiment" / "a" / "1" / "run.json").write_text(content, "utf-8")
    for _ in range(2):
        (broken,) = [one for one in list_runs(root, index=index) if one.fault]
        assert (broken.status, broken.path.name) == ("broken", "1")
        assert said in broken.fault
        assert "\n" not in broken.fault


def test_a_run_whose_config_is_gone_is_broken(root: Path, index: Path) -> None:
    (root / "sentiment" / "a" / "1" / "config.yaml").unlink()
    (broken,) = [one for one in list_runs(root, index=index) if one.fault]
    assert "config.yaml does not exist" in broken.fault


def test_time_and_cost_are_those_of_all_sittings(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        phases={"preparation": 1.0, "training": 5.0},
        sessions=[
            {"started": "2026-01-01T00:00:00+00:00", "phases": {"training": 2.5, "test": 1.0}}
        ],
        throughput={"tokens": 700, "seconds": 3.0},
        metrics={"val/accuracy": 1, "test/loss": "nan"},
        trial={"study": "lr", "number": 3},
    )
    found = read_digest(run)
    assert (found.seconds, found.training_seconds, found.tokens) == (9.5, 7.5, 700)
    assert found.started == "2026-01-01T00:00:00+00:00"
    assert (found.study, found.trial) == ("lr", 3)
    assert found.metrics["test/loss"] != found.metrics["test/loss"]  # NaN


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = os.uname().nodename
    holders = {"killed": (ended.pid, host), "running": (os.getpid(), host), "far": (ended.pid, "x")}
    digests = []
    for name, (process, where) in holders.items():
        run = make_run(tmp_path / name, status="running")
        (run / ".lock.json").write_text(json.dumps({"process": process, "host": where}), "utf-8")
        digests.append(Digest(str(run), "running"))
    digests.append(Digest(str(tmp_path), "running"))
    with_news(digests)
    assert [one.status for one in digests] == ["killed", "running", "running", "running"]
