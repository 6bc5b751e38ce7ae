"""An index of run folders, so that thousands of them are listed at once.

The folders are the truth. Every call walks them and asks the system for the time, size and number
of each record and config; only those that have changed since are read. What was read is kept in one
SQLite file in the user's cache. If that file is torn, of another version or locked, the folders
are read instead, and it is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heed.files import local_cache_dir
from heed.tracking.digest import Digest, read_digest
from heed.tracking.folder import CONFIG, walk_run_folders

FILE_NAME = "runs.sqlite"
VERSION = 2  # of the table and of `Digest`: a change of either makes every index anew
WAIT_SECONDS = 5.0  # for another process that writes
_BATCH = 1000  # runs of one transaction: an interrupted first listing keeps what it has read
_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    folder BLOB PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL, config TEXT NOT NULL
) WITHOUT ROWID"""

Progress = Callable[[int, int], None]


def list_runs(
    root: Path | str, *, index: Path | None = None, progress: Progress | None = None
) -> list[Digest]:
    """Every run at or below a folder, the one begun last first; broken ones among them.

    Args:
        root: The folder.
        index: The index file; that in the user's cache when None.
        progress: Told (read, to read) while folders are read that the index does not know.
    """
    top = os.path.realpath(root)
    found = {folder: _stamp(folder, facts) for folder, facts in walk_run_folders(top)}
    kept = RunIndex(local_cache_dir() / FILE_NAME if index is None else index)
    with contextlib.closing(kept):
        known = kept.below(top)
        digests = {
            folder: digest
            for folder, (stamp, digest) in known.items()
            if digest is not None and found.get(folder) == stamp
        }
        fresh = [folder for folder in found if folder not in digests]
        for start in range(0, len(fresh), _BATCH):
            batch = fresh[start : start + _BATCH]
            for number, folder in enumerate(batch, start=start):
                if progress is not None:
                    progress(number, len(fresh))
                digests[folder] = read_digest(Path(folder))
            kept.put([(found[folder], digests[folder]) for folder in batch])
        kept.forget([folder for folder in known if folder not in found])
    return sorted(digests.values(), key=lambda one: (one.started, one.folder), reverse=True)


class RunIndex:
    """The index file. Whatever is wrong with it, it answers: with nothing, if need be.

    Args:
        path: The file; made, with its folder, where it is missing or no good.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = self._open()

    def below(self, top: str) -> dict[str, tuple[str, Digest | None]]:
        """Stamp and digest of each folder that is known at or below `top`."""
        start = os.fsencode(top.rstrip("/"))
        rows = self._ask(
            "SELECT folder, stamp, digest, config FROM runs"
            " WHERE folder = ? OR (folder > ? AND folder < ?)",
            (os.fsencode(top), start + b"/", start + b"0"),  # "0" is the character after "/"
        )
        found = {}
        for folder, stamp, digest, config in rows:
            name = os.fsdecode(folder)
            found[name] = (stamp, _unpacked(name, digest, config))
        return found

    def put(self, runs: Sequence[tuple[str, Digest]]) -> None:
        """Keep some runs with their stamps."""
        rows = [(os.fsencode(one.folder), stamp, *_packed(one)) for stamp, one in runs]
        self._change("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", rows)

    def forget(self, folders: Sequence[str]) -> None:
        """Drop runs whose folders are gone."""
        rows = [(os.fsencode(folder),) for folder in folders]
        self._change("DELETE FROM runs WHERE folder = ?", rows)

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error):
            return None
        try:
            if _version(database) != VERSION:
                database.execute("BEGIN IMMEDIATE")
                if _version(database) != VERSION:  # another process may have been first
                    database.execute("DROP TABLE IF EXISTS runs")
                    database.execute(_TABLE)
                    database.execute(f"PRAGMA user_version = {VERSION}")
                database.execute("COMMIT")
        except sqlite3.OperationalError:  # locked for long, read-only, or the disk is full
            database.close()
            return None
        except sqlite3.DatabaseError:  # something else, or torn
            database.close()
            return self._anew()
        return database

    def _anew(self) -> sqlite3.Connection | None:
        try:
            self.path.unlink()
        except OSError:
            return None
        return self._open()

    def _ask(self, question: str, values: tuple[Any, ...]) -> list[Any]:
        if self._database is None:
            return []
        try:
            return self._database.execute(question, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return []

    def _change(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if self._database is None or not rows:
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._recover(error)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Go on without the index where it is only busy or read-only, else begin a new one."""
        self.close()
        busy = isinstance(error, sqlite3.OperationalError) and "no such" not in str(error)
        self._database = None if busy else self._anew()


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _stamp(folder: str, record: os.stat_result) -> str:
    """What changes when a run's record or config is written, since each writing makes a file."""
    try:
        config = _mark(os.stat(f"{folder}/{CONFIG}"))
    except OSError:
        config = "-"
    return f"{_mark(record)} {config}"


def _mark(facts: os.stat_result) -> str:
    return f"{facts.st_mtime_ns}:{facts.st_size}:{facts.st_ino}"


def _packed(digest: Digest) -> tuple[str, str]:
    facts = {name: value for name, value in digest.facts().items() if name != "folder"}
    return json.dumps({**facts, "metrics": digest.metrics}), digest.config_text


def _unpacked(folder: str, digest: str, config: str) -> Digest | None:
    try:
        return Digest(folder=folder, config_text=config, **json.loads(digest))
    except (ValueError, TypeError):  # somebody else has written here
        return None
