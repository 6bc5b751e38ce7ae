"""A data set as records: converted once, cached as Arrow, memory-mapped ever after."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from filelock import FileLock

from heed.data.columns import Column, resolve_columns
from heed.data.files import SPLITS, Split
from heed.data.record_kind import InvalidRow, RecordKind
from heed.data.record_table import RecordTable
from heed.data.records import LabelledText
from heed.data.rows import RawRow
from heed.data.source import Source
from heed.errors import UserError, nearest, raise_together

RECORDS_VERSION = 1  # to be raised whenever the same rows would become other records
ROWS_A_BATCH = 1000
STREAMED_TEXTS = 100_000  # records that a tokenizer is trained on where rows are streamed
ROWS_LOOKED_AT = 20  # for the columns that the data has
FIRST_SHOWN = 5
FOLDER = "records"
RECORDS, FAULTS = "records.arrow", "faults.json"  # the files of a cache entry


def kept_records(cache_dir: str | Path, fingerprint: str) -> bool:
    """Whether the records with this fingerprint are in the cache."""
    folder = _entry(Path(cache_dir).expanduser() / FOLDER, fingerprint)
    return all((folder / name).is_file() for name in (RECORDS, FAULTS))


def open_records(cache_dir: str | Path, fingerprint: str) -> RecordTable | None:
    """The records with this fingerprint, if the cache has them whole."""
    import pyarrow

    folder = _entry(Path(cache_dir).expanduser() / FOLDER, fingerprint)
    try:
        return _read_cache(folder)[0]
    except (OSError, ValueError, KeyError, pyarrow.ArrowException):
        return None


class Fault(NamedTuple):
    """Rows that were left out for one reason.

    Attributes:
        count: How many.
        first: Where the first few stand, and what they have instead.
    """

    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    first: list[str]


class Corpus:
    """The records of a data set.

    Args:
        source: Where the raw rows come from.
        kind: What a record is.
        columns: Record column -> data column; what is left out is found by its usual names.
        split_columns: Split -> columns that differ there.
        invalid: What to do with rows that cannot become records: `drop` counts them and goes on,
            `error` refuses the data.
        cache_dir: Folder of the records' cache.
        fingerprints: Split -> fingerprint, where it is known without asking the source.
        streamed: Whether the training rows are read as they come, and never cached.

    Raises:
        UserError: If `split_columns` names no split. Reading can raise more: see `records`.
    """

    def __init__(
        self,
        *,
        source: Source,
        kind: RecordKind,
        columns: dict[str, Column] | None = None,
        split_columns: dict[str, dict[str, Column]] | None = None,
        invalid: Literal["drop", "error"] = "drop",
        cache_dir: str,
        fingerprints: Mapping[str, str] | None = None,
        streamed: bool = False,
    ) -> None:
        if invalid not in ("drop", "error"):
            raise UserError(
                f"data.invalid must be drop or error, but is {invalid!r}",
                nearest(invalid, ("drop", "error")),
            )
        for split in split_columns or {}:
            if split not in SPLITS:
                raise UserError(
                    f"data.split_columns must name splits, but names {split!r}",
                    nearest(split, SPLITS),
                )
        self.source = source
        self.kind = kind
        self.columns = columns or {}
        self.split_columns = split_columns or {}
        self.invalid = invalid
        self.streamed = streamed
        self.cache_dir = Path(cache_dir).expanduser() / FOLDER
        # Asked for once: a file that changes while a run is on does not change what it runs on.
        self._fingerprints: dict[str, str] = dict(fingerprints or {})
        self._open: dict[Split, tuple[RecordTable, dict[str, Fault]]] = {}

    def records(self, split: Split) -> RecordTable:
        """The records of a split, memory-mapped, in the order of the data.

        Raises:
            UserError: If the data cannot be read, lacks a column, has no valid row, or has an
                invalid one and `invalid` is `error`.
        """
        records = self._load(split)[0]
        self.refuse_invalid(split)
        return records

    def refuse_invalid(self, split: Split) -> None:
        """Nothing, if all rows of a split are valid or may be left out.

        Raises:
            UserError: If some are not and `invalid` is `error`, or as `records` does.
        """
        if self.invalid == "drop":
            return
        raise_together(
            [
                UserError(
                    f"every row of the {split} data must be valid, but in {fault.count} "
                    f"{reason}: {'; '.join(fault.first)}",
                    "mend the data, or leave such rows out with data.invalid=drop",
                )
                for reason, fault in self.faults(split).items()
            ]
        )

    def faults(self, split: Split) -> dict[str, Fault]:
        """The rows of a split that were left out: reason -> how many, and the first of them."""
        if split not in self._open:
            with contextlib.suppress(OSError, ValueError):
                return _read_faults(_entry(self.cache_dir, self.fingerprint(split)))
        return dict(self._load(split)[1])

    def texts(
        self, split: Split = "train", side: Literal["source", "target"] | None = None
    ) -> Iterator[str]:
        """Every text a tokenizer has to know, one after another, read from the disk as needed.

        Args:
            split: Which split.
            side: Only what the model reads, or only what it writes; None for both.
        """
        if self.streamed and split == "train":
            for record in islice(self.stream(), STREAMED_TEXTS):
                yield from self.kind.texts(record, side)
            return
        for batch in self.records(split).iter(batch_size=ROWS_A_BATCH):
            columns: Mapping[str, list[Any]] = batch
            for values in zip(*columns.values(), strict=True):
                yield from self.kind.texts(dict(zip(columns, values, strict=True)), side)

    def stream(
        self, *, order: Sequence[int] = (0,), shard: int = 0, shards: int = 1
    ) -> Iterator[dict[str, Any]]:
        """The training records of a shard, read as they are asked for.

        If the files can be dealt evenly, a shard has some of them whole; else every `shards`-th row
        of all. Invalid rows are passed over (`invalid=drop`).

        Args:
            order: Decides the order of the files.
            shard: Which shard.
            shards: How many there are.

        Raises:
            UserError: If the data cannot be read, or a row is invalid and `invalid` is `error`.
        """
        parts = self.source.parts("train")
        first = list(islice(parts[0](), ROWS_LOOKED_AT))
        where = first[0].place if first else self.source.describe("train")
        columns = self._resolved("train", first, where)
        random = np.random.default_rng(np.random.SeedSequence(list(order)))
        parts = [parts[number] for number in random.permutation(len(parts))]
        by_file = shards > 1 and len(parts) % shards == 0
        mine = parts[shard::shards] if by_file else parts
        rows: Iterator[RawRow] = chain.from_iterable(part() for part in mine)
        if not by_file:
            rows = islice(rows, shard, None, shards)
        for row in rows:
            try:
                if row.fault:
                    raise InvalidRow(row.fault)
                yield self.kind.convert(row.values, columns, number=row.number)
            except InvalidRow as fault:
                if self.invalid == "error":
                    raise UserError(
                        f"every row of the train data must be valid, but {row.place} row "
                        f"{row.number} has a fault: {fault}",
                        "mend the data, or leave such rows out with data.invalid=drop",
                    ) from None

    def _resolved(self, split: Split, head: list[RawRow], where: str) -> dict[str, Column]:
        return resolve_columns(
            self._columns(split),
            required=self.kind.required,
            guesses=self.kind.guesses,
            rows=[row.values for row in head],
            where=where,
        )

    def labels(self) -> list[str]:
        """The class names: those of the config, or else those of the training data, sorted."""
        assert isinstance(self.kind, LabelledText), "only labelled text has labels"
        if self.kind.labels is not None:
            return list(self.kind.labels)
        return sorted(set(self._load("train")[0].unique("label")))

    def describe(self, split: Split) -> str:
        """Where a split comes from, in a few words."""
        return self.source.describe(split)

    def fingerprint(self, split: Split) -> str:
        """Hex digits that change whenever the records of a split could."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self._fingerprint(split)
        return self._fingerprints[split]

    def _fingerprint(self, split: Split) -> str:
        parts = {
            "version": RECORDS_VERSION,
            "source": self._source_fingerprint(split),
            "kind": self.kind.name,
            "columns": self._columns(split),
        }
        if isinstance(self.kind, LabelledText):
            if self.kind.labels is not None:
                parts["labels"] = list(self.kind.labels)
            elif split != "train":
                parts["labels of"] = self.fingerprint("train")
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _source_fingerprint(self, split: Split) -> str:
        if self.streamed and split == "train":
            return f"streamed {self.source.streamed_fingerprint(split)}"
        return self.source.fingerprint(split)

    def _columns(self, split: Split) -> dict[str, Column]:
        return {**self.columns, **self.split_columns.get(split, {})}

    def _load(self, split: Split) -> tuple[RecordTable, dict[str, Fault]]:
        if split not in self._open:
            folder = _entry(self.cache_dir, self.fingerprint(split))
            try:
                self.cache_dir.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{folder}.lock"):
                    self._open[split] = self._open_or_build(folder, split)
            except OSError as error:
                raise UserError(
                    f"the cache of records must be writable, but {self.cache_dir} is not: "
                    f"{error.strerror or error}",
                    "free some room, or give another folder: paths.cache_dir=FOLDER",
                ) from error
        return self._open[split]

    def _open_or_build(self, folder: Path, split: Split) -> tuple[RecordTable, dict[str, Fault]]:
        import pyarrow

        try:
            return _read_cache(folder)
        except (OSError, ValueError, KeyError, pyarrow.ArrowException):
            shutil.rmtree(folder, ignore_errors=True)  # never finished, or damaged
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self._build(temporary, split)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return _read_cache(folder)

    def _build(self, folder: Path, split: Split) -> None:
        import pyarrow

        found = _Faults()
        before = self.source.fingerprint(split)
        schema = _schema(self.kind)
        n_records = 0
        with (
            pyarrow.OSFile(str(folder / RECORDS), "wb") as sink,
            pyarrow.ipc.new_stream(sink, schema) as writer,
        ):
            records = self._convert(split, found)
            while batch := list(islice(records, ROWS_A_BATCH)):
                n_records += len(batch)
                writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema))
        if self.source.fingerprint(split) != before:
            raise UserError(
                f"the {split} data must stay as they are while they are read, but "
                f"{self.source.describe(split)} has changed meanwhile",
                "repeat the command when it is complete",
            )
        if n_records == 0:
            raise UserError(
                f"the {split} data must have a valid row, but all rows of "
                f"{self.source.describe(split)} were left out: {found.summary()}",
                "check data.columns, or mend the data",
            )
        faults = {reason: list(fault) for reason, fault in found.faults.items()}
        (folder / FAULTS).write_text(json.dumps(faults), encoding="utf-8")

    def _convert(self, split: Split, found: _Faults) -> Iterator[dict[str, Any]]:
        rows = self.source.rows(split)
        head = list(islice(rows, ROWS_LOOKED_AT))
        where = head[0].place if head else self.source.describe(split)
        columns = self._resolved(split, head, where)
        kind = self.kind
        if isinstance(kind, LabelledText) and kind.labels is None and split != "train":
            kind = LabelledText(labels=self.labels())
        for row in chain(head, rows):
            try:
                if row.fault:
                    raise InvalidRow(row.fault)
                yield kind.convert(row.values, columns, number=row.number)
            except InvalidRow as fault:
                found.add(fault, row)


def _entry(folder: Path, fingerprint: str) -> Path:
    return folder / fingerprint[:32]


class _Faults:
    """Invalid rows, counted by reason."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}

    def add(self, fault: InvalidRow, row: RawRow) -> None:
        count, first = self.faults.get(fault.reason, Fault(0, []))
        if count < FIRST_SHOWN:
            detail = f" ({fault.detail})" if fault.detail else ""
            first = [*first, f"{row.place} row {row.number}{detail}"]
        self.faults[fault.reason] = Fault(count + 1, first)

    def summary(self) -> str:
        return "; ".join(
            f"in {fault.count} {reason}, first {fault.first[0]}"
            for reason, fault in self.faults.items()
        )


def _schema(kind: RecordKind) -> Any:
    import pyarrow

    types = {
        "text": pyarrow.string(),
        "texts": pyarrow.list_(pyarrow.string()),
        "integers": pyarrow.list_(pyarrow.int64()),
    }
    return pyarrow.schema([(name, types[type_]) for name, type_ in kind.types.items()])


def _read_cache(folder: Path) -> tuple[RecordTable, dict[str, Fault]]:
    return RecordTable.open(folder / RECORDS), _read_faults(folder)


def _read_faults(folder: Path) -> dict[str, Fault]:
    faults = json.loads((folder / FAULTS).read_text(encoding="utf-8"))
    return {reason: Fault(*fault) for reason, fault in faults.items()}
