"""Storages: files that were torn, are locked or gone, and passwords that are not shown."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from heed.errors import UserError
from heed.sweeps import storage
from heed.sweeps.storage import is_secret, open_storage, shown, wherever


def trials(place: Path, written: str | None = None) -> int:
    import optuna

    return len(optuna.load_study(study_name="s", storage=open_storage(written, place)).trials)


def make(place: Path, written: str | None = None) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="s", storage=open_storage(written, place))
    study.tell(study.ask(), 1.0)


@pytest.mark.parametrize("written", [None, "sqlite", "file"])
def test_a_study_is_found_again(tmp_path: Path, written: str | None):
    names = {"sqlite": f"sqlite:///{tmp_path}/x.db", "file": str(tmp_path / "own.journal")}
    make(tmp_path, names.get(str(written)))
    assert trials(tmp_path, names.get(str(written))) == 1


def test_a_line_that_was_torn_by_a_kill_is_cut(tmp_path: Path):
    make(tmp_path)
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "work')
    assert trials(tmp_path) == 1
    assert path.read_bytes() == whole


def test_a_broken_journal_says_so(tmp_path: Path):
    make(tmp_path)
    path = tmp_path / "journal.log"
    path.write_bytes(b"no json\n" + path.read_bytes())
    with pytest.raises(UserError, match=r"journal.log is broken"):
        open_storage(None, tmp_path)


def test_a_locked_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "LOCKED_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path}/x.db"
    make(tmp_path, url)
    with sqlite3.connect(tmp_path / "x.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="locked by another program"):
            open_storage(url, tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path):
    for written in (f"sqlite:///{tmp_path}/no/x.db", str(tmp_path / "no" / "x.log")):
        with pytest.raises(UserError, match=r"must be in a folder that exists, but .*/no does not"):
            open_storage(written, tmp_path)


def test_a_server_that_is_not_there_hides_its_password(tmp_path: Path):
    url = "postgresql://me:secret@127.0.0.1:1/x"
    with pytest.raises(
        UserError, match="postgresql://me:\\*\\*\\*@127.0.0.1:1/x cannot be used"
    ) as e:
        open_storage(url, tmp_path)
    assert "secret" not in str(e.value)


def test_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert wherever("sqlite:///x.db") == f"sqlite:///{tmp_path}/x.db"
    assert wherever("sqlite:////a/x.db") == "sqlite:////a/x.db"
    assert wherever("x.db") == f"{tmp_path}/x.db"
    assert wherever("postgresql://host/db") == "postgresql://host/db"
    assert wherever(None) is None


def test_passwords_are_not_shown():
    assert shown("postgresql://me:a:b@host/db") == "postgresql://me:***@host/db"
    assert shown("postgresql://host/db?user=me&password=x&a=1").endswith("password=***&a=1")
    assert shown("sqlite:///x.db") == "sqlite:///x.db"
    assert is_secret("postgresql://me:x@host/db")
    assert not is_secret("postgresql://me@host/db")
