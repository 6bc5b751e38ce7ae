"""What Heed's own classes and functions take, read from their source without importing them.

Importing a target would import torch, and a misspelt key should be told at once. So the source is
parsed: parameters, annotations and defaults of a function, a method or a class's `__init__`, whose
`**settings` are those of the class it extends.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed.errors import UserError, nearest

PACKAGE = Path(__file__).resolve().parents[1]
NO_DEFAULT = object()


@dataclass
class Parameter:
    """One parameter: how it is annotated, and where that annotation's names are defined."""

    annotation: ast.expr | None
    module: Module
    default: Any = NO_DEFAULT

    @property
    def required(self) -> bool:
        return self.default is NO_DEFAULT


@dataclass
class Signature:
    """The parameters of a target; `open` if it takes more than could be read."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    open: bool = False


@dataclass
class Module:
    """A parsed source file: what it defines, and what it imports from where."""

    name: str
    definitions: dict[str, ast.AST]
    imports: dict[str, str]  # name here -> dotted name there


Definition = tuple[ast.AST, Module]


def defaults_of(target: str, key: str) -> dict[str, Any]:
    """What a target takes for each parameter that is left out, as a config would have it.

    Args:
        target: As for `signature_of`; likewise `key`.
    """
    parameters = signature_of(target, key).parameters
    defaults = {name: one.default for name, one in parameters.items() if not one.required}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in defaults.items()}


def signature_of(target: str, key: str) -> Signature:
    """The signature of a class, function or class method of Heed's.

    Args:
        target: Its dotted name, beginning with "heed.".
        key: The key that names it, for errors.

    Raises:
        UserError: If there is no such module or name.
    """
    words = target.split(".")
    path = _module_path(words)
    if path is None:
        raise _no_module(target, key)
    module = parse_module(".".join(words[:path]))
    found = resolve(words[path], module) if path < len(words) else None
    if found is None and not module.definitions:
        raise _no_module(target, key)  # a package, whose modules have other names
    if found is None:
        wanted = words[path] if path < len(words) else ""
        raise UserError(
            f"{key} is {target}, but {module.name} has no {wanted!r}",
            nearest(wanted, [n for n in module.definitions if not n.startswith("_")]),
        )
    node, where = found
    for word in words[path + 1 :]:
        inner = _method(node, word)
        if inner is None:
            raise UserError(f"{key} is {target}, which has no {word!r}")
        node = inner
    if isinstance(node, ast.ClassDef):
        return _class_signature(node, where)
    if isinstance(node, ast.FunctionDef):
        return _function_signature(node, where, skip_first=len(words) > path + 1)
    raise UserError(f"{key} must name a class or function, but {target} is neither")


@functools.cache
def parse_module(name: str) -> Module:
    """Parse one module of Heed's by its dotted name."""
    base = PACKAGE.joinpath(*name.split(".")[1:])
    path = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    definitions: dict[str, ast.AST] = {}
    imports: dict[str, str] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If):  # if TYPE_CHECKING
            inner = statement.body
        else:
            inner = [statement]
        for node in inner:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                definitions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                definitions[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                definitions[node.target.id] = node.value or node
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return Module(name, definitions, imports)


def resolve(name: str, module: Module) -> Definition | None:
    """Where a name used in a module is defined; None if that is not in Heed."""
    if name in module.definitions:
        return module.definitions[name], module
    target = module.imports.get(name, "")
    if target.startswith("heed."):
        parent, _, last = target.rpartition(".")
        words = parent.split(".")
        if _module_path(words) == len(words):
            return resolve(last, parse_module(parent))
    return None


def _module_path(words: list[str]) -> int | None:
    """How many of the words name a module, the longest way; None if not even two do."""
    for size in range(len(words), 1, -1):
        base = PACKAGE.joinpath(*words[1:size])
        if base.with_suffix(".py").is_file() or (base / "__init__.py").is_file():
            return size
    return None


def _no_module(target: str, key: str) -> UserError:
    words = target.split(".")
    known = [
        "heed." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    ]
    return UserError(
        f"{key} is {target}, but Heed has no such module",
        nearest(".".join(words[:-1]) if len(words) > 2 else target, known),
    )


def _method(node: ast.AST, name: str) -> ast.FunctionDef | None:
    for inner in getattr(node, "body", []):
        if isinstance(inner, ast.FunctionDef) and inner.name == name:
            return inner
    return None


def _class_signature(node: ast.ClassDef, module: Module) -> Signature:
    init = _method(node, "__init__")
    if init is not None:
        own = _function_signature(init, module, skip_first=True)
        if not own.open:
            return own
    elif any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _dataclass_signature(node, module)
    else:
        own = Signature(open=True)
    if not node.bases and init is None:
        return Signature()
    for base in node.bases:  # **settings go to the class above
        found = resolve(base.id, module) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[0], ast.ClassDef):
            above = _class_signature(found[0], found[1])
            return Signature({**above.parameters, **own.parameters}, above.open)
    return own


def _dataclass_signature(node: ast.ClassDef, module: Module) -> Signature:
    parameters = {}
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            default = NO_DEFAULT if inner.value is None else _literal(inner.value)
            parameters[inner.target.id] = Parameter(inner.annotation, module, default)
    return Signature(parameters)


def _function_signature(node: ast.FunctionDef, module: Module, *, skip_first: bool) -> Signature:
    given = node.args
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = list(zip(positional, [*defaults, *given.defaults], strict=True))
    pairs = pairs[1:] if skip_first and not static else pairs
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parameters = {
        argument.arg: Parameter(
            argument.annotation, module, NO_DEFAULT if default is None else _literal(default)
        )
        for argument, default in pairs
    }
    return Signature(parameters, open=given.kwarg is not None)


def _literal(node: ast.expr) -> Any:
    """A default that is a plain value; None for one that is computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
