"""A run's config as dotted keys, read fast: YAML as `save_config` writes it is lines.

PyYAML takes some 14 ms for a frozen config, 1.5 ms in C, and an output folder may hold ten thousand
of them. A frozen config needs little of YAML: a mapping or a value a line, lists of plain values.
Such lines are read here, each different one once; any other sends the whole file to PyYAML.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from heed.tracking.config_file import load_config, parse_scalar

_ENTRY = re.compile(r"( *)([A-Za-z_][\w.]*):(?: (\S.*))?")
_ITEM = re.compile(r"( *)- (\S.*)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[-+]?\d+)?")
# Where a value that begins or goes on like this ends, only YAML's own rules tell.
_ODD = "\t\x85\u2028\u2029\ufeff"  # breaks and marks that lines do not show
_NOT_PLAIN = re.compile(r"[&*!|>%@`?{\[]|- |.*(?:: | #|:$)")


def flat_config(path: Path | str) -> dict[str, Any]:
    """The values of a config file by dotted key, such as "optimizer.lr"; a list is a value.

    Raises:
        UserError: If the file is missing, is no YAML, or is not a mapping.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return _read_lines(file.read())
    except (OSError, UnicodeDecodeError, _OtherYaml):
        return dict(leaves(load_config(path)))


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each (dotted key, value) of plain nested mappings; lists count as values."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


class _OtherYaml(Exception):
    """A line that needs a whole YAML reader."""


class _Line(NamedTuple):
    """One line: a key with its value, a key whose value follows, or (without key) a list's item."""

    indent: int
    key: str
    follows: bool
    value: Any


def _read_lines(text: str) -> dict[str, Any]:
    if any(character in text for character in _ODD):
        raise _OtherYaml
    flat: dict[str, Any] = {}
    seen: set[str] = set()
    prefixes = {0: ""}  # by indent, what stands before the keys there
    pending: tuple[int, str] | None = None  # (indent, key) whose value is on the next lines
    items: list[Any] | None = None  # that value, if it is a list
    last = 0  # the indent of the key before
    for line in text.split("\n"):
        if not line:
            continue
        indent, name, follows, value = _line(line)
        if not name:
            if pending is None or indent != pending[0]:
                raise _OtherYaml
            if items is None:
                flat[pending[1]] = items = []
            items.append(value)
            continue
        if pending is not None and items is None:
            if indent != pending[0] + 2:
                raise _OtherYaml  # a key without a value
            prefixes[indent] = f"{pending[1]}."
        elif indent > last or indent not in prefixes:
            raise _OtherYaml
        last = indent
        key = prefixes[indent] + name
        if key in seen:
            raise _OtherYaml  # the last one would count
        seen.add(key)
        pending, items = ((indent, key), None) if follows else (None, None)
        if not follows and value != {}:
            flat[key] = value
    if not flat or (pending is not None and items is None):
        raise _OtherYaml
    return flat


@functools.lru_cache(maxsize=10_000)
def _line(text: str) -> _Line:
    entry = _ENTRY.fullmatch(text)
    if entry is not None:
        if not _is_text(entry[2]):
            raise _OtherYaml  # "yes:" is a truth value in YAML
        follows = entry[3] is None
        return _Line(len(entry[1]), entry[2], follows, None if follows else _value(entry[3]))
    item = _ITEM.fullmatch(text)
    if item is None:
        raise _OtherYaml
    return _Line(len(item[1]), "", False, _value(item[2]))


@functools.lru_cache(maxsize=1000)
def _is_text(key: str) -> bool:
    return isinstance(_value(key), str)


def _value(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text or "e" in text else int(text)
    if text in ("{}", "[]"):
        return {} if text == "{}" else []
    if _NOT_PLAIN.match(text) and text[0] not in "'\"":
        raise _OtherYaml
    try:
        return parse_scalar(text)
    except (yaml.YAMLError, ValueError) as error:
        raise _OtherYaml from error  # for instance a text that goes on in the next line
