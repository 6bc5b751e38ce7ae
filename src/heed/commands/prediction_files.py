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
from heed.files import replacing

INPUT_FORMATS = ("txt", "csv", "tsv", "jsonl", "json", "parquet")
OUTPUT_FORMATS = ("txt", "csv", "jsonl")
Write = Callable[[dict[str, Any]], None]


def read_inputs(source: str, input_format: str | None, config: dict[str, Any]) -> Iterator[Any]:
    """The records to predict from, read as they are needed.

    Args:
        source: A file, or "-" for what is piped in.
        input_format: One of `INPUT_FORMATS`; None goes by the file's name, or for "-" by the first
            line: JSON objects if it is one, else text.
        config: The run's config, for the kind of record and its columns.

    Raises:
        UserError: If the file or its format is unknown, at once; if a row cannot be read from, when
            that row comes.
    """
    from heed.data.records import record_kind

    if input_format is not None and input_format not in INPUT_FORMATS:
        raise UserError(
            f"input_format must be one of {', '.join(INPUT_FORMATS)}, but is {input_format!r}",
            nearest(input_format, INPUT_FORMATS),
        )
    if source != "-" and not Path(source).is_file():
        what = "is a folder" if Path(source).is_dir() else "does not exist"
        raise UserError(f"input must be a file or -, but {source} {what}")
    kind = record_kind(config["task"]["kind"])
    rows = _piped(input_format) if source == "-" else _file_rows(Path(source), input_format)
    return _records(rows, kind, config["data"].get("columns") or {}, source)


def _records(
    rows: Iterator[tuple[int, Any]], kind: Any, columns: dict[str, Any], source: str
) -> Iterator[dict[str, Any]]:
    from heed.data.records import InvalidRow

    place = "input" if source == "-" else source
    count = 0
    for number, row in rows:
        count += 1
        try:
            yield kind.from_input(row, columns)
        except InvalidRow as fault:
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
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="")
    if input_format in ("csv", "tsv"):
        delimiter = "\t" if input_format == "tsv" else ","
        yield from enumerate(csv.DictReader(stream, delimiter=delimiter), start=1)
        return
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
    except ValueError as error:
        raise UserError(f"input, row {number} must be a JSON object, but is not: {error}") from error
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
    suffix = output_format or ("txt" if target == "-" else Path(target).suffix.lstrip("."))
    if suffix not in OUTPUT_FORMATS:
        key = "format" if output_format else "the suffix of output"
        raise UserError(
            f"{key} must be one of {', '.join(OUTPUT_FORMATS)}, but is {suffix!r}",
            nearest(suffix, OUTPUT_FORMATS) if output_format else "or add format=jsonl",
        )
    if target == "-":
        yield _writer(sys.stdout, suffix)
        sys.stdout.flush()
        return
    path = Path(target)
    if read != "-" and path.exists() and path.resolve() == Path(read).resolve():
        raise UserError(f"output={target} must be another file than the input")
    if path.exists() and not overwrite:
        raise UserError(f"output={target} exists", "give another name, or overwrite=true")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "w") as file:
        yield _writer(file, suffix)


def _writer(file: IO[str], suffix: str) -> Write:
    if suffix == "jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
    if suffix == "txt":
        return lambda row: print(" ".join(str(row["prediction"]).splitlines()), file=file)
    table: list[csv.DictWriter[str]] = []

    def write(row: dict[str, Any]) -> None:
        flat = _flat(row)
        if not table:
            table.append(csv.DictWriter(file, list(flat), extrasaction="ignore"))
            table[0].writeheader()
        table[0].writerow(flat)

    return write


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
