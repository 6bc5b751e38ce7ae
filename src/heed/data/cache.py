"""Token rows on disk: written once for each thing they depend on, and memory-mapped.

A cache entry is a folder named by a fingerprint, of flat files of integers:

    COLUMN.int32     the integers of a column, row after row
    COLUMN.int64     of a list column: where each row's begin, and the end of the last
    lengths.int32    (N, s) tokens of each row in each stream: all that a sampler reads
    entry.json       columns, counts, and the sizes of the other files; written last

An entry is written into a folder of its own and moved into place whole, under a lock, so any number
of processes may ask for the same one. What is missing or not as long as it was is written again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heed.data.encoded_rows import ENTRY, LENGTHS, OFFSETS, VALUES, EncodedRows
from heed.data.preparation import Preparation, digest
from heed.data.token_rows import TokenRows
from heed.errors import UserError

CACHE_VERSION = 2  # raise it when the files below change their meaning
ENCODED_AT_ONCE = 1000  # records; part of the fingerprint, since packed rows begin anew with each
ENCODERS = 2  # threads: the tokenizer's own, on all cores, wait while a chunk's rows are made
LONG_RECORDS = 5000  # from here on a progress bar is worth its line


def encoded_rows(
    records: Callable[[], Any],
    preparation: Preparation,
    *,
    training: bool,
    records_fingerprint: str,
    cache_dir: str | Path,
    description: str = "Encoding",
) -> EncodedRows:
    """The token rows of some records: those on disk, or else encoded now and kept there.

    Args:
        records: Asked for the records if they have to be encoded: rows by slice as columns, with
            a length (a `RecordTable`).
        preparation: Turns records into token rows.
        training: Whether the rows are for training (see `Preparation.encode`).
        records_fingerprint: Changes whenever the records do.
        cache_dir: Folder of all cache entries; made when it is not there.
        description: What the progress bar on standard error says.

    Raises:
        UserError: If the cache folder cannot be written or its disk is full.
    """
    root = Path(cache_dir).expanduser() / "encoded"
    key = rows_fingerprint(records_fingerprint, preparation, training=training)
    folder = root / key
    with _disk_faults(root):
        if not is_whole(folder):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f"{key}.lock"):
                if not is_whole(folder):  # another process may have written it meanwhile
                    _write(folder, records(), preparation, training, description)
        return EncodedRows(folder)


def rows_fingerprint(records_fingerprint: str, preparation: Preparation, *, training: bool) -> str:
    """The name of a cache entry: it changes with everything that its rows depend on."""
    parts = [
        CACHE_VERSION,
        ENCODED_AT_ONCE,
        records_fingerprint,
        preparation.fingerprint(),
        training,
    ]
    return digest(parts)


def is_whole(folder: Path) -> bool:
    """Whether a cache entry is there with every file as long as it was written."""
    try:
        sizes = json.loads((folder / ENTRY).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write(
    folder: Path, records: Any, preparation: Preparation, training: bool, description: str
) -> None:
    """Write a cache entry beside its place and move it there; the caller holds the lock."""
    for left in folder.parent.glob(f"{folder.name}.part-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        counts = _write_rows(part, records, preparation, training, description)
        entry = {
            "counts": counts,
            "streams": len(preparation.streams),
            "scalar_columns": list(preparation.scalar_columns),
            "list_columns": [name for name in preparation.list_columns if name != "lengths"],
            "sizes": {path.name: path.stat().st_size for path in sorted(part.iterdir())},
        }
        (part / ENTRY).write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)  # mkdtemp lets nobody else read; a shared cache is shared
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_rows(
    part: Path, records: Any, preparation: Preparation, training: bool, description: str
) -> dict[str, int]:
    counts = {"records": len(records), "rows": 0, "cut_rows": 0, "cut_tokens": 0}
    with ExitStack() as files:
        columns = _Columns(part, preparation, files)
        for rows in _encode(records, preparation, training, description):
            columns.write(rows)
            cut = rows.scalars("cut")
            counts["rows"] += len(rows)
            counts["cut_rows"] += int((cut > 0).sum())
            counts["cut_tokens"] += int(cut.sum())
    return counts


class _Columns:
    """The open files of an entry that is being written."""

    def __init__(self, part: Path, preparation: Preparation, files: ExitStack) -> None:
        def opened(name: str) -> IO[bytes]:
            return files.enter_context((part / name).open("wb"))

        self.lists = [name for name in preparation.list_columns if name != "lengths"]
        self.lengths = opened(LENGTHS)
        self.values = {n: opened(n + VALUES) for n in (*preparation.scalar_columns, *self.lists)}
        self.offsets = {name: opened(name + OFFSETS) for name in self.lists}
        self.written = dict.fromkeys(self.lists, 0)
        for file in self.offsets.values():
            _write_integers(file, np.zeros(1), np.int64)

    def write(self, rows: TokenRows) -> None:
        _write_integers(self.lengths, rows.ragged("lengths").values, np.int32)
        for name, file in self.values.items():
            column = rows.ragged(name).values if name in self.lists else rows.scalars(name)
            _write_integers(file, column, np.int32)
        for name, file in self.offsets.items():
            offsets = rows.ragged(name).offsets
            _write_integers(file, offsets[1:] + self.written[name], np.int64)
            self.written[name] += int(offsets[-1])


def _write_integers(file: IO[bytes], integers: np.ndarray, kind: type) -> None:
    file.write(np.ascontiguousarray(integers, dtype=kind).data)


def _encode(
    records: Any, preparation: Preparation, training: bool, description: str
) -> Iterator[TokenRows]:
    """Encoded chunks in order: while the rows of one are put together, another is tokenized."""
    count = len(records)

    def encode(part: Any, numbers: range) -> TokenRows:
        columns = preparation.encode(part, numbers, training=training)
        return TokenRows.of(columns, preparation.list_columns)

    with _progress(description, count) as advance, ThreadPoolExecutor(ENCODERS) as encoders:
        chunks: deque[Future[TokenRows]] = deque()
        try:
            for first in range(0, count, ENCODED_AT_ONCE):
                numbers = range(first, min(first + ENCODED_AT_ONCE, count))
                part = records[numbers.start : numbers.stop]
                chunks.append(encoders.submit(encode, part, numbers))
                if len(chunks) > ENCODERS:
                    yield chunks.popleft().result()
                    advance(ENCODED_AT_ONCE)
            while chunks:
                yield chunks.popleft().result()
                advance(min(ENCODED_AT_ONCE, count))
        finally:
            for chunk in chunks:
                chunk.cancel()


@contextmanager
def _progress(description: str, count: int) -> Iterator[Any]:
    """A bar on standard error while many records are encoded; nothing for few or for a file."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = count < LONG_RECORDS or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(description, total=count)
        yield lambda done: progress.advance(task, done)


@contextmanager
def _disk_faults(root: Path) -> Iterator[None]:
    """Name the folder and the way out when the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        faults: Mapping[int | None, str] = {
            errno.ENOSPC: "its disk is full",
            errno.EDQUOT: "your disk quota is used up",
            errno.EACCES: "you may not write there",
            errno.EPERM: "you may not write there",
            errno.EROFS: "its disk is read-only",
            errno.ENOTDIR: "a part of its path is a file",
        }
        if error.errno not in faults:
            raise
        raise UserError(
            f"paths.cache_dir must be a folder with room for encoded data, but {root} is not: "
            f"{faults[error.errno]}",
            "try paths.cache_dir=FOLDER on another disk",
        ) from error
