"""Whether a plain value fits an annotation, read from source."""

from __future__ import annotations

import ast
from typing import Any

from heed.commands.signatures import Module, resolve
from heed.errors import nearest

PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "None": "null",
}
LISTS = ("list", "List", "Sequence", "Iterable", "tuple", "Tuple", "Collection")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")


def misfit(value: Any, annotation: ast.expr | None, module: Module) -> tuple[str, str] | None:
    """Why a value does not fit an annotation.

    A whole number fits `float`; true and false fit `bool` alone. What is not a plain type, such as
    a class, fits anything: only building can tell.

    Args:
        value: A plain value of the frozen config.
        annotation: The annotation, or None.
        module: Where the names in it are defined.

    Returns:
        What it must be, and a remedy; None if it fits.
    """
    words = _expected(annotation, module)
    if words is None or _fits(value, annotation, module):
        return None
    choices = [choice for choice in _choices(annotation, module) if isinstance(choice, str)]
    if choices and isinstance(value, str):
        return words, nearest(value, choices)
    if isinstance(value, float) and value.is_integer() and _fits(int(value), annotation, module):
        return words, f"write {int(value)}"
    return words, ""


def _fits(value: Any, node: ast.expr | None, module: Module) -> bool:
    node, module = _simplify(node, module)
    if isinstance(node, ast.BinOp):
        return _fits(value, node.left, module) or _fits(value, node.right, module)
    if isinstance(node, ast.Constant) and node.value is None:
        return value is None
    if isinstance(node, ast.Name):
        return _fits_plain(value, node.id)
    if isinstance(node, ast.Subscript):
        name, inside = _name(node.value), _inside(node)
        if name == "Literal":
            return any(value == c and type(value) is type(c) for c in _literals(node))
        if name == "Optional":
            return value is None or _fits(value, inside[0], module)
        if name == "Union":
            return any(_fits(value, part, module) for part in inside)
        if name in ("tuple", "Tuple"):
            return isinstance(value, list)
        if name in LISTS:
            return isinstance(value, list) and all(_fits(v, inside[0], module) for v in value)
        if name in MAPPINGS:
            return isinstance(value, dict) and all(
                _fits(v, inside[-1], module) for v in value.values()
            )
    return True


def _fits_plain(value: Any, name: str) -> bool:
    if name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == "str":
        return isinstance(value, str)
    if name == "bool":
        return isinstance(value, bool)
    if name in LISTS:
        return isinstance(value, list)
    if name in MAPPINGS:
        return isinstance(value, dict)
    return True


def _expected(node: ast.expr | None, module: Module) -> str | None:
    """The annotation in words; None if any part of it is not a plain type."""
    node, module = _simplify(node, module)
    if isinstance(node, ast.BinOp):
        return _either([_expected(node.left, module), _expected(node.right, module)])
    if isinstance(node, ast.Constant) and node.value is None:
        return PLAIN["None"]
    if isinstance(node, ast.Name):
        if node.id in LISTS:
            return "a list"
        return "a mapping" if node.id in MAPPINGS else PLAIN.get(node.id)
    if isinstance(node, ast.Subscript):
        name, inside = _name(node.value), _inside(node)
        if name == "Literal":
            values = [str(value) for value in _literals(node)]
            return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
        if name == "Optional":
            return _either([_expected(inside[0], module), PLAIN["None"]])
        if name == "Union":
            return _either([_expected(part, module) for part in inside])
        if name in LISTS:
            items = _expected(inside[0], module)
            return f"a list, each item {items}" if items else "a list"
        if name in MAPPINGS:
            items = _expected(inside[-1], module)
            return f"a mapping, each value {items}" if items else "a mapping"
    return None


def _either(parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return " or ".join(known) if len(known) == len(parts) else None


def _choices(node: ast.expr | None, module: Module) -> list[Any]:
    node, module = _simplify(node, module)
    if isinstance(node, ast.BinOp):
        return _choices(node.left, module) + _choices(node.right, module)
    if isinstance(node, ast.Subscript) and _name(node.value) == "Literal":
        return _literals(node)
    return []


def _simplify(node: ast.expr | None, module: Module) -> tuple[ast.expr | None, Module]:
    """An annotation without quotes, and an alias such as `Kind = Literal[...]` spelt out."""
    while True:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        elif isinstance(node, ast.Name) and node.id not in (*PLAIN, *LISTS, *MAPPINGS):
            found = resolve(node.id, module)
            if found is None or not isinstance(found[0], (ast.Subscript, ast.BinOp, ast.Name)):
                return node, module
            node, module = found[0], found[1]
        else:
            return node, module


def _literals(node: ast.Subscript) -> list[Any]:
    return [part.value for part in _inside(node) if isinstance(part, ast.Constant)]


def _inside(node: ast.Subscript) -> list[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
