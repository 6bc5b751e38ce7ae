"""From a node of the frozen config to the object that it describes."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from heed.errors import UserError, nearest
from heed.tracking.folder import RECORD_NAME

TARGET = "_target_"


def build(node: dict[str, Any], *, key: str = "", **parts: Any) -> Any:
    """Build the object that a config node describes.

    Nested nodes that have a `_target_` of their own are built first. A target is called with the
    node's other keys and the parts; a part takes the place of a key of the same name.

    Args:
        node: Plain values with a `_target_`, the dotted name of a class or function.
        key: Where the node stands in the config, for errors; e.g. "model".
        parts: Objects that only the program has, such as a tokenizer.

    Raises:
        UserError: If the target cannot be imported, or does not take what the node gives it.
    """
    return build_call(node, key, **parts)


def build_call(node: dict[str, Any], key: str = "", *leading: Any, **parts: Any) -> Any:
    """As `build`, with parts that are given by their place."""
    assert TARGET in node, f"the node {key or node!r} has no {TARGET}"
    where = key or str(node[TARGET])
    target = locate(node[TARGET], key=f"{key}.{TARGET}" if key else TARGET)
    values = {
        name: _build_nested(value, f"{where}.{name}")
        for name, value in node.items()
        if name != TARGET and name not in parts
    }
    values.update(parts)
    checked = _check_call(target, leading, values, where, str(node[TARGET]))
    try:
        return target(*leading, **values)
    except TypeError as error:
        # A class that hands its keys on (**settings) refuses them further up.
        if not checked or re.search(
            r"__init__\(\) (got an unexpected keyword|missing \d+ required)", str(error)
        ):
            raise UserError(f"{where} cannot be built: {node[TARGET]}: {error}") from error
        raise


def of_kind(kind: type, built: Any, node: dict[str, Any], key: str) -> Any:
    """The object that was built, if it is of the kind that is needed there.

    Raises:
        UserError: If it is something else.
    """
    if isinstance(built, kind):
        return built
    raise UserError(
        f"{key}.{TARGET} must build a {kind.__module__}.{kind.__qualname__}, "
        f"but {node[TARGET]} gives a {type(built).__name__}"
    )


def locate(target: str, *, key: str = TARGET) -> Any:
    """Import the class or function with a dotted name such as "package.module.Class.method".

    Raises:
        UserError: If there is no such module or name. An import that fails for another reason
            (a package that is missing inside the module) names that reason.
    """
    words = target.split(".")
    if not dotted(target):
        raise UserError(
            f"{key} must be the dotted name of a class or function, but is {target!r}",
            "write it as package.module.Name",
        )
    if words[0] != "heed":
        _find_modules_here()
    for size in range(len(words) - 1, 0, -1):
        name = ".".join(words[:size])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                if size > 1:
                    continue  # the last word may be a class; look one level up
                raise UserError(
                    f"{key} must name something that can be imported, "
                    f"but there is no module {name!r} (in {target})",
                    "install it, or run where Python finds it (PYTHONPATH)",
                ) from error
            raise UserError(
                f"{key} is {target}, and importing {name} needs {error.name!r}, "
                "which is not installed",
                f"pip install {str(error.name).split('.')[0]}",
            ) from error
        except Exception as error:
            if words[0] == "heed":
                raise  # a defect of ours, not of the config
            raise UserError(
                f"{key} is {target}, and importing {name} fails: {type(error).__name__}: {error}",
                "HEED_TRACEBACK=1 shows where",
            ) from error
        for index, word in enumerate(words[size:], start=size):
            if not hasattr(found, word):
                parent = ".".join(words[:index])
                public = [known for known in dir(found) if not known.startswith("_")]
                raise UserError(
                    f"{key} is {target}, but {parent} has no {word!r}", nearest(word, public)
                )
            found = getattr(found, word)
        if not callable(found):
            raise UserError(f"{key} must name a class or function, but {target} is neither")
        return found
    raise AssertionError("the loop above returns or raises")


def dotted(target: Any) -> bool:
    """Whether this is a name with dots in it, as a target must be."""
    words = target.split(".") if isinstance(target, str) else []
    return len(words) >= 2 and all(word.isidentifier() for word in words)


def _find_modules_here() -> None:
    """Let the user's own modules be found in the working directory, after all that is installed.

    A run folder may be a stranger's, so that a module in it is never found by standing there.
    """
    here = Path.cwd()
    inside_a_run = any((folder / RECORD_NAME).exists() for folder in (here, *here.parents))
    if not inside_a_run and str(here) not in sys.path:
        sys.path.append(str(here))


def _build_nested(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        if TARGET in value:
            return build(value, key=key)
        return {name: _build_nested(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_build_nested(item, f"{key}[{index}]") for index, item in enumerate(value)]
    return value


def _check_call(
    target: Any, leading: tuple[Any, ...], values: dict[str, Any], where: str, name: str
) -> bool:
    """Say which key does not fit before the call, so that a TypeError inside it stays a defect.

    Returns:
        Whether that could be told: some built-in callables have no signature.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(*leading, **values)
    except TypeError as error:
        keys = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        unknown = [value for value in values if value not in keys]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        if unknown and not takes_any:
            raise UserError(
                f"{where}.{unknown[0]} is not a parameter of {name}", nearest(unknown[0], keys)
            ) from error
        raise UserError(f"{where} cannot be built: {name}: {error}") from error
    return True
