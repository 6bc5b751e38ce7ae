"""The frozen config on disk: plain YAML that reads back as exactly what was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from heed.errors import UserError
from heed.files import replacing

# YAML 1.1 reads 1e-4 as text; YAML 1.2, Hydra and everybody's eye read it as a number.
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
    r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)

# A frozen config is five levels deep; the parser in C has no bound of its own but the stack.
_DEEPEST = 100
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # nine times as fast, where it is


class _Loader(_PARSER):
    """A safe loader that reads 1e-4 as a number."""


class _Dumper(yaml.SafeDumper):
    """A safe dumper that puts the text "1e-4" in quotes, and repeats instead of referring."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Line ends that only Unicode knows are escaped: bare, they read back as spaces."""
    quoted = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=quoted)


_Dumper.add_representer(str, _text)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def save_config(config: dict[str, Any], path: Path | str) -> None:
    """Write plain values (dict, list, str, int, float, bool, None) as YAML, whole or not at all."""
    with replacing(Path(path), "w") as file:
        yaml.dump(config, file, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load_config(path: Path | str) -> dict[str, Any]:
    """Read what `save_config` wrote, or a mapping that somebody wrote by hand.

    Raises:
        UserError: If the file is missing, is no YAML, or is not a mapping.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} must be a plain file, but is none")
    try:
        with open(path, encoding="utf-8") as file:
            config = _read(file.read())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", "a run folder holds a config.yaml") from error
    except OSError as error:
        raise UserError(f"{path} must be readable, but is not: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path} must be YAML, but is nested too deeply") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date or number that is none
        raise UserError(f"{path} must be YAML, but is broken: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} must be a mapping, but is {type(config).__name__}")
    return config


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each (dotted key, value) of plain nested mappings; lists count as values."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _read(text: str) -> Any:
    _check_plain(text)
    return yaml.load(text, Loader=_Loader)


def _check_plain(text: str) -> None:
    """Refuse references and deep nests, before anything is built of them.

    `save_config` writes none, and a few lines of references to references are a config without end.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"*{event.anchor} refers to another part, which is refused")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError
