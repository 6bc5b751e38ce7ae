"""What `heed predict` reads and writes: text, tables and JSON lines, one example a line or row."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from heed.errors import UserError, nearest
from heed.files import replacing, writing_error

INPUT_FORMATS = ("txt", "csv", "tsv", "jsonl", "json", "parquet")
OUTPUT_FORMATS = ("txt", "csv", "jsonl")
Write = Callable[[dict[str, Any]], None]


def read_inputs(
    source: str, input_format: str | None, config: dict[str, Any]
) -> Iterator[dict[str, Any] | None]:
    """The records to predict from, read as they are needed; None for a line or row without text.

    A question without its passage, or the other way round, is a mistake and not None.

    Args:
        source: A file, or "-" for what is piped in.
        input_format: One of `INPUT_FORMATS`; None goes by the file's name, or for "-" by the first
            line: JSON objects if it is one, else text.
        config: The run's config, for the kind of record and its columns.

    Raises:
        UserError: If the file or its format is unknown, at once; if a row cannot be read from, when
            that row comes.
    """
    from heed.data.records import columns_of_kind, record_kind

    if input_format is not None and input_format not in INPUT_FORMATS:
        raise UserError(
            f"input_format must be a format that can be read, but is {input_format!r}",
            nearest(input_format, INPUT_FORMATS),
        )
    if source != "-" and not Path(source).expanduser().is_file():
        what = "is a folder" if Path(source).expanduser().is_dir() else "does not exist"
        raise UserError(f"input must be a file or -, but {source} {what}")
    kind = record_kind(config["task"]["kind"])
    path = Path(source).expanduser()
    rows = _piped(input_format) if source == "-" else _file_rows(path, input_format)
    data = config["data"]
    columns = columns_of_kind(
        data.get("columns") or {}, data=str(data.get("kind")), wanted=kind.name
    )
    return _records(rows, kind, columns, source)


def _records(
    rows: Iterator[tuple[int, Any]], kind: Any, columns: dict[str, Any], source: str
) -> Iterator[dict[str, Any] | None]:
    from heed.data.record_kind import InvalidRow
    from heed.data.records import Passages

    place = "input" if source == "-" else source
    count = 0
    for number, row in rows:
        count += 1
        try:
            yield kind.from_input(row, columns)
        except InvalidRow as fault:
            if fault.reason.endswith(" is empty") and not isinstance(kind, Passages):
                yield None
                continue
            raise UserError(f"{place}, row {number}: {fault}") from fault
    if not count:
        raise UserError(f"{place} must have at least one row, but is empty")


def _file_rows(path: Path, input_format: str | None) -> Iterator[tuple[int, Any]]:
    from heed.data.rows import READERS, read_rows

    suffix = input_format or path.name.removesuffix(".gz").rpartition(".")[2]
    if suffix not in INPUT_FORMATS:
        raise UserError(
            f"input={path} has a name that does not tell its format",
            f"add input_format={'|'.join(INPUT_FORMATS)}",
        )
    if suffix == "txt":
        from heed.data.rows import read_lines

        return ((n, line.rstrip("\r\n")) for n, line in enumerate(read_lines(path), start=1))
    rows = READERS[f".{input_format}"](path) if input_format else read_rows(path)
    return ((row.number, _without_fault(row, path)) for row in rows)


def _without_fault(row: Any, path: Path) -> dict[str, Any]:
    if row.fault:
        raise UserError(f"{path}, row {row.number}: {row.fault}")
    return row.values


def _piped(input_format: str | None) -> Iterator[tuple[int, Any]]:
    if input_format in ("json", "parquet"):
        raise UserError(
            f"input_format={input_format} cannot be piped in", "write a file and give input=FILE"
        )
    table = input_format in ("csv", "tsv")
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="" if table else "\n")
    try:
        if table:
            csv.field_size_limit(2**31 - 1)  # the default, 128 KiB, is shorter than a document
            delimiter = "\t" if input_format == "tsv" else ","
            yield from enumerate(csv.DictReader(stream, delimiter=delimiter), start=1)
        else:
            yield from _piped_lines(stream, input_format)
    except csv.Error as error:
        raise UserError(f"input must be a table, but a row cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"input must be UTF-8 text, but has the byte 0x{error.object[error.start]:02x} "
            "where UTF-8 has none",
            "if it is Latin-1, pipe it through: iconv -f latin1 -t utf-8",
        ) from error


def _piped_lines(stream: IO[str], input_format: str | None) -> Iterator[tuple[int, Any]]:
    as_json = input_format == "jsonl"
    for number, line in enumerate(stream, start=1):
        text = line.rstrip("\r\n")
        if number == 1 and input_format is None:
            as_json = text.startswith("{") and text.endswith("}")
        if not as_json:
            yield number, text
        elif text.strip():
            yield number, _json_object(text, number)


def _json_object(text: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"input, row {number} must be a JSON object, but is not: {error}"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"input, row {number} must be a JSON object, but is {text[:40]!r}")
    return value


@contextlib.contextmanager
def open_output(
    target: str, output_format: str | None, *, overwrite: bool, read: str
) -> Iterator[Write]:
    """Where predictions go; a file takes its name only when it is complete.

    Args:
        target: A file, or "-" for the terminal.
        output_format: One of `OUTPUT_FORMATS`; None goes by the file's name, and is txt for "-".
        overwrite: Whether a file that exists may be replaced.
        read: What is read from, which is never written to.

    Raises:
        UserError: If the format is unknown, or the file exists or cannot be written.
    """
    path = Path(target).expanduser()
    if target != "-" and path.is_dir():
        raise UserError(f"output must be a file or -, but {target} is a folder")
    suffix = output_format or ("txt" if target == "-" else path.suffix.lstrip("."))
    if suffix not in OUTPUT_FORMATS:
        if output_format:
            raise UserError(
                f"format must be a format that can be written, but is {suffix!r}",
                nearest(suffix, OUTPUT_FORMATS),
            )
        raise UserError(
            f"output={target} has a name that does not tell its format",
            f"add format={'|'.join(OUTPUT_FORMATS)}",
        )
    if target == "-":
        with _writing(sys.stdout, suffix) as write:
            yield write
        sys.stdout.flush()
        return
    if read != "-" and path.exists() and path.resolve() == Path(read).resolve():
        raise UserError(f"output={target} must be another file than the input")
    if path.exists() and not overwrite:
        raise UserError(f"output={target} exists", "give another name, or overwrite=true")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(path, error, elsewhere="output=FILE") from error
    with replacing(path, "w", elsewhere="output=FILE") as file, _writing(file, suffix) as write:
        yield write


@contextlib.contextmanager
def _writing(file: IO[str], suffix: str) -> Iterator[Write]:
    if suffix == "jsonl":
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
    elif suffix == "txt":
        yield lambda row: print(" ".join(str(row["prediction"]).splitlines()), file=file)
    else:
        table = _Table(file)
        yield table.write
        table.close()


class _Table:
    """A csv file with the columns of the first prediction that is not empty.

    Empty ones before it are counted, and written as soon as the columns are known.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.waiting = 0
        self.rows: csv.DictWriter[str] | None = None

    def write(self, row: dict[str, Any]) -> None:
        flat = _flat(row)
        if self.rows is None:
            if flat == {"prediction": ""}:
                self.waiting += 1
                return
            self._begin(list(flat))
        assert self.rows is not None
        self.rows.writerow(flat)

    def close(self) -> None:
        if self.rows is None and self.waiting:
            self._begin(["prediction"])

    def _begin(self, columns: list[str]) -> None:
        self.rows = csv.DictWriter(self.file, columns, extrasaction="ignore", lineterminator="\n")
        self.rows.writeheader()
        for _ in range(self.waiting):
            self.rows.writerow({"prediction": ""})


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A prediction as one row of a table: probabilities a column each, other structure as JSON."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "probabilities":
            flat.update({f"probability_{label}": p for label, p in value.items()})
        elif isinstance(value, (dict, list)):
            flat[name] = json.dumps(value, ensure_ascii=False)
        else:
            flat[name] = value
    return flat
