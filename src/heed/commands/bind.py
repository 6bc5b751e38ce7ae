"""Every node of the config held against what it builds, before anything is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

from heed.commands.annotations import misfit
from heed.commands.assemble import DESCRIPTIVE
from heed.commands.build import TARGET, dotted
from heed.commands.signatures import Signature, signature_of
from heed.errors import UserError, nearest

OURS = "heed."

# What the program gives to a target beside its node's keys, by the key of the node.
PARTS: dict[str, tuple[str, ...]] = {
    "task": ("backbone", "preparation", "decoder", "optimizer", "scheduler"),
    "task.preparation": ("tokenizer", "source_tokenizer", "target_tokenizer", "labels", "shape"),
    "tokenizer": ("texts", "texts_fingerprint", "cache_dir", "checkpoint", "family"),
    "model": ("vocabulary_size", "target_vocabulary_size"),
    "optimizer": ("module",),
    "scheduler": ("optimizer", "total_steps"),
    "trainer": ("callbacks", "loggers", "run_dir"),
    "logger.*": ("run_dir", "run_name", "task"),
}


def bind(frozen: dict[str, Any]) -> list[UserError]:
    """The faults of all nodes that Heed's own code builds: unknown, missing and unfit keys.

    Targets of other packages are left to the moment they are built.
    """
    faults: list[UserError] = []
    for key, node in targets(frozen):
        target = str(node[TARGET])
        if target.startswith(OURS) and dotted(target):
            try:
                signature = signature_of(target, f"{key}.{TARGET}")
            except UserError as error:
                faults.append(error)
            else:
                faults += _node_faults(key, node, signature)
    return faults


def targets(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each (dotted key, node) that has a `_target_`, outermost first."""
    if isinstance(node, dict):
        if TARGET in node:
            yield key, node
        for name, value in node.items():
            yield from targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{key}[{index}]")


def listed(table: dict[str, tuple[str, ...]], key: str) -> tuple[str, ...]:
    """What a table says of a node's key; an entry may have wildcards."""
    return tuple(name for pattern in table if fnmatch(key, pattern) for name in table[pattern])


def _node_faults(key: str, node: dict[str, Any], signature: Signature) -> Iterator[UserError]:
    parts, descriptive = listed(PARTS, key), listed(DESCRIPTIVE, key)
    parameters = {
        name: parameter for name, parameter in signature.parameters.items() if name not in parts
    }
    for name, value in node.items():
        if name == TARGET or (name in descriptive and name not in parameters):
            continue
        if name not in parameters:
            if not signature.open:
                yield _unknown(key, name, node, parameters)
        elif not (isinstance(value, dict) and TARGET in value):
            parameter = parameters[name]
            reason = misfit(value, parameter.annotation, parameter.module)
            if reason is not None:
                expected, remedy = reason
                if expected.startswith("one of") and remedy.startswith("choose one of"):
                    remedy = ""
                yield UserError(f"{key}.{name} must be {expected}, but is {shown(value)}", remedy)
    for name, parameter in parameters.items():
        if parameter.required and name not in node:
            yield UserError(
                f"{key}.{name} must be given, but is not ({node[TARGET]} needs it)",
                f"add {key}.{name}=..., or choose one of Heed's own configs for {key}",
            )


def _unknown(key: str, name: str, node: dict[str, Any], parameters: dict[str, Any]) -> UserError:
    remedy = nearest(name, [parameter for parameter in parameters if parameter not in node])
    if not remedy.startswith("did you mean"):
        remedy = nearest(name, parameters)
    return UserError(f"{key}.{name} is not a key that {node[TARGET]} takes", remedy)


def shown(value: Any) -> str:
    """A plain value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def closest(name: str, valid: Iterable[str]) -> str:
    """`did you mean ...?`, or nothing where a list of all would only repeat the rule."""
    remedy = nearest(name, valid)
    return remedy if remedy.startswith("did you mean") else ""
