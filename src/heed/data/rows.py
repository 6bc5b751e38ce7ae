"""Raw rows: read one file after another, row by row, saying exactly where something is wrong.

Readers are generators, so a file of any size is read in little memory. A fault of the whole file
(not there, cut off, not UTF-8, not what its name says) is a `UserError`; a fault of one row travels
with the row as `RawRow.fault`, to be counted.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heed.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
AGAIN = "copy or download it again"


class RawRow(NamedTuple):
    """A row as it was read.

    Attributes:
        place: The file's name, or the data set's.
        number: Its number there, from 1; a header line does not count.
        values: Column -> value.
        fault: Why the row cannot be used, if that is known already.
    """

    place: str
    number: int
    values: dict[str, Any]
    fault: str = ""


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, gzip-compressed or not, each with its "\n".

    Raises:
        UserError: If the file cannot be opened, is cut off, or is not UTF-8.
    """
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} must be UTF-8 text, but row {number} has the byte "
            f"0x{error.object[error.start]:02x} where UTF-8 has none",
            f"if it is Latin-1: iconv -f latin1 -t utf-8 {path.name}",
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} must be a whole gzip file, but it breaks off or is damaged after row {number}",
            AGAIN,
        ) from error
    except OSError as error:
        raise UserError(f"{path} must be readable, but is not: {error.strerror}") from error


def _open(path: Path) -> Any:
    with path.open("rb") as stream:
        magic = stream.read(2)
    if magic == GZIP_MAGIC:
        return gzip.open(path, "rb")
    if path.suffix == ".gz" and magic:
        raise UserError(
            f"{path} must be gzip data, as its name says, but is not", "rename it or " + AGAIN
        )
    return path.open("rb")


def read_json_lines(path: Path) -> Iterator[RawRow]:
    """A JSON object a line; blank lines are skipped.

    Raises:
        UserError: If a line is not a JSON object, or as `read_lines` does.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if line.isspace():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            cut = "" if line.endswith("\n") else "; the file may be cut off there"
            raise UserError(
                f"{path} must have a JSON object on every line, but row {number} is not JSON "
                f"({error}){cut}"
            ) from error
        yield RawRow(path.name, number, _object(values, path, number))


def read_json(path: Path) -> Iterator[RawRow]:
    """A JSON file: SQuAD's, a list of objects, or {"data": [...]}; or, in spite of its name, lines.

    SQuAD questions become rows with id, question, context, title and answers, where answers is
    {"text": [...], "answer_start": [...]} as on the hub.

    Raises:
        UserError: If it is none of these, or as `read_lines` does.
    """
    text = "".join(read_lines(path))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):
            yield from read_json_lines(path)
            return
        raise UserError(f"{path} must be JSON, but is not: {error}", AGAIN) from error
    del text
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        yield RawRow(path.name, 1, _object(content, path, 1))
        return
    number = 0
    for entry in content:
        if isinstance(entry, dict) and isinstance(entry.get("paragraphs"), list):
            for values in _squad_rows(entry, path):
                number += 1
                yield RawRow(path.name, number, values)
        else:
            number += 1
            yield RawRow(path.name, number, _object(entry, path, number))


def _squad_rows(article: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    for paragraph in _squad_objects(article, "paragraphs", path):
        for question in _squad_objects(paragraph, "qas", path):
            answers = _squad_objects(question, "answers", path)
            yield {
                "id": question.get("id"),
                "title": article.get("title", ""),
                "context": paragraph.get("context"),
                "question": question.get("question"),
                "answers": {
                    "text": [answer.get("text") for answer in answers],
                    "answer_start": [answer.get("answer_start") for answer in answers],
                },
            }


def _squad_objects(holder: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UserError(
            f"{path} must be laid out like SQuAD, where {name} is a list of objects, "
            f"but one is {str(found)[:40]!r}"
        )
    return found


def _object(values: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(
            f"{path} must have a JSON object in every row, but row {number} is "
            f"a {type(values).__name__}",
            'write rows like {"text": "...", "label": "..."}',
        )
    return values


def read_csv(path: Path) -> Iterator[RawRow]:
    """Comma-separated values with a header line; quoted fields may hold commas and line ends."""
    yield from _read_table(path, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def read_tsv(path: Path) -> Iterator[RawRow]:
    """Tab-separated values with a header line; a quotation mark is a character like any other."""
    yield from _read_table(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_table(path: Path, *, delimiter: str, quoting: Any) -> Iterator[RawRow]:
    csv.field_size_limit(2**31 - 1)  # the default, 128 KiB, is shorter than a long document
    reader = csv.reader(read_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    number = 0
    try:
        header = next(reader, None)
        if header is None:
            return
        for number, fields in enumerate(reader, start=1):
            if not fields:
                continue
            fault = ""
            if len(fields) != len(header):
                fault = f"the row does not have {len(header)} fields, as the header has"
            yield RawRow(path.name, number, dict(zip(header, fields, strict=False)), fault)
    except csv.Error as error:
        raise UserError(
            f"{path} must be a table in which every quote is closed, but row {number + 1} is not "
            f"({error})",
            "write a quotation mark inside a quoted field twice",
        ) from error


def read_parquet(path: Path) -> Iterator[RawRow]:
    """An Apache Parquet file.

    Raises:
        UserError: If it is cut off or no Parquet file.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(path.name, number, values)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        words = (str(error) or type(error).__name__).splitlines()[0]  # a date that is none, ...
        raise UserError(
            f"{path} must be a whole Parquet file, but cannot be read after row {number}: {words}",
            AGAIN,
        ) from error


def read_text(path: Path) -> Iterator[RawRow]:
    """A text a line, in the column `text`."""
    for number, line in enumerate(read_lines(path), start=1):
        yield RawRow(path.name, number, {"text": line.rstrip("\r\n")})


def read_parallel(paths: dict[str, Path]) -> Iterator[RawRow]:
    """Several text files of which line n of each belong together; column -> file.

    Raises:
        UserError: If they do not have the same number of lines, or as `read_lines` does.
    """
    place = " + ".join(path.name for path in paths.values())
    streams = {column: read_lines(path) for column, path in paths.items()}
    number = 0
    while True:
        lines = {column: next(stream, None) for column, stream in streams.items()}
        if all(line is None for line in lines.values()):
            return
        if any(line is None for line in lines.values()):
            counts = {
                column: number + (line is not None) + sum(1 for _ in streams[column])
                for column, line in lines.items()
            }
            shown = ", ".join(f"{paths[column]} has {count}" for column, count in counts.items())
            raise UserError(f"files whose lines belong together must be equally long, but {shown}")
        number += 1
        values = {column: (line or "").rstrip("\r\n") for column, line in lines.items()}
        yield RawRow(place, number, values)


READERS: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".txt": read_text,
}


def known_extension(path: Path) -> str | None:
    """The extension that `READERS` has for a file, `.gz` apart; None if there is none."""
    name = path.name.lower().removesuffix(".gz")
    return next((extension for extension in READERS if name.endswith(extension)), None)


def read_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file, read as its extension says.

    Raises:
        UserError: If the extension is unknown, or as the readers do.
    """
    extension = known_extension(path)
    if extension is None:
        raise UserError(
            f"{path} must be a file of a known kind, but {path.suffix or 'no extension'!r} is none",
            "use one of " + ", ".join(f"{known}[.gz]" for known in READERS),
        )
    return READERS[extension](path)
