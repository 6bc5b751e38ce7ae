"""The words after `heed runs` and `heed compare`: folders, conditions, and keys of the command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed.commands.arguments import parse_arguments
from heed.errors import UserError, nearest, printable, raise_together
from heed.files import replacing, writing_error
from heed.tracking.run_filters import Filter, make_filter, split_word
from heed.tracking.table import FORMATS, SUFFIXES, Table

Reader = Callable[[str, str], Any]


@dataclass
class RunWords:
    """What somebody typed.

    Attributes:
        folders: Words that are no `key=value`.
        filters: Conditions on runs.
        asked: The value of each key of the command, its default where it was not given.
    """

    folders: list[str] = field(default_factory=list)
    filters: list[Filter] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)


def read_run_words(
    argv: list[str],
    *,
    usage: str,
    keys: Mapping[str, tuple[Reader, Any]],
    conditions: bool = True,
) -> RunWords:
    """Sort the words after a verb.

    Args:
        argv: The words.
        usage: What `--help` prints.
        keys: The command's own keys: how each is read, and what it is when it is not given.
        conditions: Whether other words with a sign are conditions on runs.

    Raises:
        UserError: For each word that cannot be read.
    """
    arguments = parse_arguments(argv, usage=usage)
    if arguments.multirun or arguments.show or arguments.config_dir or arguments.trust:
        raise UserError("of the options only --help and --traceback mean something here")
    words = RunWords(asked={key: default for key, (_, default) in keys.items()})
    faults = []
    for word in arguments.overrides:
        parts = split_word(word)
        try:
            if parts is None or Path(word).exists():
                words.folders.append(word)
            elif parts[0] in keys and parts[1] == "=":
                words.asked[parts[0]] = keys[parts[0]][0](parts[0], parts[2])
            elif conditions:
                words.filters.append(make_filter(*parts))
            else:
                remedy = nearest(parts[0], keys)
                faults.append(UserError(f"this command has no key {parts[0]!r}", remedy))
        except UserError as fault:
            faults.append(fault)
    raise_together(faults)
    return words


def text(key: str, value: str) -> str:
    """A value that is any text but none."""
    if not value:
        raise UserError(f"{key} must be given a value, but is empty")
    return value


def names(key: str, value: str) -> list[str]:
    """Names with commas between them."""
    found = [one.strip() for one in value.strip("[]").split(",") if one.strip()]
    if not found:
        raise UserError(f"{key} must be one name or several with commas, but is empty")
    return found


def truth(key: str, value: str) -> bool:
    """true or false."""
    if value.lower() not in ("true", "false"):
        raise UserError(f"{key} must be true or false, but is {value!r}")
    return value.lower() == "true"


def whole(at_least: int) -> Reader:
    """A whole number that is not too small."""

    def read(key: str, value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = at_least - 1
        if number < at_least:
            raise UserError(
                f"{key} must be a whole number of at least {at_least}, but is {value!r}"
            )
        return number

    return read


def one_of(options: Iterable[str]) -> Reader:
    """One of some names."""
    valid = list(options)

    def read(key: str, value: str) -> str:
        if value not in valid:
            raise UserError(
                f"{key} must be one of {', '.join(valid)}, but is {value!r}", nearest(value, valid)
            )
        return value

    return read


def table_format(asked: Mapping[str, Any]) -> str:
    """The format that `format=` names, or else the name of `output=`, or else that of a terminal.

    Raises:
        UserError: If the file's name does not tell.
    """
    if asked["format"]:
        return str(asked["format"])
    if not asked["output"]:
        return "terminal"
    suffix = Path(asked["output"]).suffix.lstrip(".")
    if suffix not in SUFFIXES:
        raise UserError(
            f"output={asked['output']} has a name that does not tell its format",
            f"add format={'|'.join(FORMATS)}",
        )
    return SUFFIXES[suffix]


def render(table: Table, kind: str, *, to_file: bool = False, fold: bool = True) -> str:
    """A table for where it goes: the bold type of a terminal and, if wished for, its width."""
    if to_file or not sys.stdout.isatty():
        return table.render(kind)
    width = shutil.get_terminal_size().columns if fold else None
    return table.render(kind, width=width, colour="NO_COLOR" not in os.environ)


def put(content: str, output: str | None, *, overwrite: bool) -> None:
    """Print some text, or write it into a file.

    Raises:
        UserError: If the file exists and may not be replaced, or cannot be written.
    """
    content = printable(content)  # a folder's name may be no text
    if output is None:
        print(content, end="")
        return
    path = Path(output).expanduser()
    check_output(output, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(path, error, elsewhere="output=FILE") from error
    with replacing(path, "w", elsewhere="output=FILE") as file:
        file.write(content)
    print(f"written to {path}")


def check_output(output: str | None, *, overwrite: bool) -> None:
    """Refuse a file that may not be written, before any work is done.

    Raises:
        UserError: If it is a folder, or exists and may not be replaced.
    """
    if output is None:
        return
    path = Path(output).expanduser()
    if path.is_dir():
        raise UserError(f"output must be a file, but {output} is a folder")
    if path.exists() and not overwrite:
        raise UserError(f"output={output} exists", "give another name, or overwrite=true")
