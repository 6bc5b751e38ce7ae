"""Token rows on disk: written once for each thing they depend on, and memory-mapped.

A cache entry is a folder named by a fingerprint:

    rows.arrow     the rows, an Arrow file of chunks of CHUNK_ROWS rows
    lengths.npy    (N, s) int32, tokens of each row in each stream: all that a sampler reads
    entry.json     counts, and the sizes of the other files; written last

An entry is written into a folder of its own and moved into place whole, under a lock, so any number
of processes may ask for the same one. What is missing or not as long as it was is written again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heed.data.preparation import Preparation, Rows, digest
from heed.errors import UserError

CACHE_VERSION = 1  # raise it when the files below change their meaning
CHUNK_ROWS = 4096
RECORDS_AT_ONCE = 1000
LONG_RECORDS = 5000  # from here on a progress bar is worth its line

ROWS, LENGTHS, ENTRY = "rows.arrow", "lengths.npy", "entry.json"


class EncodedRows:
    """The token rows of a cache entry, read from disk as they are asked for.

    Args:
        folder: The entry.

    Attributes:
        lengths: (N, s) int32 tokens of each row in each stream, memory-mapped.
        counts: What was counted when the rows were written: "records", "rows", "cut_rows",
            "cut_tokens".
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        entry = json.loads((self.folder / ENTRY).read_text(encoding="utf-8"))
        self.counts: dict[str, int] = entry["counts"]
        self.lengths: np.ndarray = np.load(self.folder / LENGTHS, mmap_mode="r")
        self._file = pa.ipc.open_file(pa.memory_map(str(self.folder / ROWS)))
        self._chunks: dict[int, dict[str, tuple[np.ndarray, np.ndarray | None]]] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by number: an int for a scalar column, an int32 array for a list column."""
        return [self._row(number) for number in numbers]

    def column(self, name: str) -> np.ndarray:
        """(N,) the whole of a scalar column."""
        parts = [self._chunk(number)[name][0] for number in range(self._file.num_record_batches)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)

    def _row(self, number: int) -> dict[str, Any]:
        chunk, place = divmod(number, CHUNK_ROWS)
        row: dict[str, Any] = {}
        for name, (values, offsets) in self._chunk(chunk).items():
            if offsets is None:
                row[name] = int(values[place])
            else:
                row[name] = values[offsets[place] : offsets[place + 1]]
        return row

    def _chunk(self, number: int) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Views into the mapped file: values and, for lists, where each row's values begin."""
        if number not in self._chunks:
            batch = self._file.get_batch(number)
            self._chunks[number] = {
                name: _views(batch.column(i)) for i, name in enumerate(batch.schema.names)
            }
        return self._chunks[number]

    def __reduce__(self) -> tuple[type[EncodedRows], tuple[Path]]:
        return type(self), (self.folder,)


def _views(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    if pa.types.is_list(array.type):
        return array.values.to_numpy(zero_copy_only=False), array.offsets.to_numpy()
    return array.to_numpy(zero_copy_only=False), None


def encoded_rows(
    records: Any,
    preparation: Preparation,
    *,
    training: bool,
    records_fingerprint: str,
    cache_dir: str | Path,
    description: str = "Encoding",
) -> EncodedRows:
    """The token rows of some records: those on disk, or else encoded now and kept there.

    Args:
        records: Rows by slice as columns, with a length (a `datasets.Dataset`).
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
                    _write(folder, records, preparation, training, description)
        return EncodedRows(folder)


def rows_fingerprint(records_fingerprint: str, preparation: Preparation, *, training: bool) -> str:
    """The name of a cache entry: it changes with everything that its rows depend on."""
    parts = [CACHE_VERSION, CHUNK_ROWS, records_fingerprint, preparation.fingerprint(), training]
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
        sizes = {name: (part / name).stat().st_size for name in (ROWS, LENGTHS)}
        entry = json.dumps({"counts": counts, "sizes": sizes}, indent=2)
        (part / ENTRY).write_text(entry + "\n", encoding="utf-8")
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
    schema = _schema(preparation)
    lengths: list[np.ndarray] = []
    counts = {"records": len(records), "rows": 0, "cut_rows": 0, "cut_tokens": 0}
    with pa.OSFile(str(part / ROWS), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for rows in _chunks(_encode(records, preparation, training, description), schema):
            writer.write_batch(rows)
            chunk_lengths = rows.column("lengths").values.to_numpy(zero_copy_only=False)
            lengths.append(chunk_lengths.reshape(rows.num_rows, -1))
            cut = rows.column("cut").to_numpy(zero_copy_only=False)
            counts["rows"] += rows.num_rows
            counts["cut_rows"] += int((cut > 0).sum())
            counts["cut_tokens"] += int(cut.sum())
    empty = np.empty((0, len(preparation.streams)), dtype=np.int32)
    np.save(part / LENGTHS, np.concatenate([empty, *lengths]))
    return counts


def _encode(
    records: Any, preparation: Preparation, training: bool, description: str
) -> Iterator[Rows]:
    count = len(records)
    with _progress(description, count) as advance:
        for first in range(0, count, RECORDS_AT_ONCE):
            past = min(first + RECORDS_AT_ONCE, count)
            yield preparation.encode(records[first:past], range(first, past), training=training)
            advance(past - first)


def _chunks(encoded: Iterator[Rows], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in record batches of CHUNK_ROWS rows; only the last is shorter."""
    waiting = schema.empty_table()
    for rows in encoded:
        arrays = [pa.array(rows[field.name], type=field.type) for field in schema]
        waiting = pa.concat_tables([waiting, pa.Table.from_arrays(arrays, schema=schema)])
        while waiting.num_rows >= CHUNK_ROWS:
            yield _one_batch(waiting.slice(0, CHUNK_ROWS))
            waiting = waiting.slice(CHUNK_ROWS)
    if waiting.num_rows:
        yield _one_batch(waiting)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [pa.concat_arrays(column.chunks) for column in table.columns]  # offsets from 0
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _schema(preparation: Preparation) -> pa.Schema:
    scalars = [pa.field(name, pa.int32()) for name in preparation.scalar_columns]
    lists = [pa.field(name, pa.list_(pa.int32())) for name in preparation.list_columns]
    return pa.schema([*scalars, *lists])


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
