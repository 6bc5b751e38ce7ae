"""What kind of value each key is that no signature tells of, checked before all other rules.

Most keys are parameters of what their node builds, and `bind` holds them against its signature.
Here are the rest: names, descriptions and places that the commands themselves read.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

from heed.commands.annotations import misfit
from heed.commands.bind import OURS, shown
from heed.commands.build import TARGET, dotted
from heed.commands.signatures import Module
from heed.errors import UserError

LARGEST = 2**53  # up to here every whole number is a float too; no count of anything is larger

KINDS: dict[str, str] = {
    "name": "str",
    "resume": "str | None",
    "paths.output_dir": "str",
    "paths.run_dir": "str | None",
    "paths.cache_dir": "str",
    "data.name": "str",
    "data.tasks": "list[str] | None",
    "data.kind": "str",
    "data.path": "str | None",
    "data.labels": "list[str] | None",
    "data.columns": "dict[str, str | list[str] | None]",
    "data.split_columns": "dict[str, dict[str, str | list[str] | None]]",
    "data.invalid": "str",
    "data.from_cache": "bool",
    "data.cache_dir": "str",
    "task.name": "str",
    "task.kind": "str",
    "task.shape": "str | None",
    "task.shapes": "list[str] | None",
    "task.monitor": "str",
    "model.init_from": "str | None",
    "model.learning_rate": "float | None",
    "model.pretrained": "str | None",
    "model.revision": "str | None",
    "finetuning": "dict[str, object] | None",
    "adapter": "dict[str, object] | None",
}
# Keys that must be there, be it with null; their ranges or signatures tell the rest.
NEEDED = (
    *("name", "task.name", "task.kind", "paths.output_dir", "paths.cache_dir"),
    *("data.labels", "data.columns", "data.split_columns", "data.invalid", "data.cache_dir"),
    *("data.max_tokens", "data.batch_size", "data.eval_max_tokens", "data.num_workers"),
    *("data.limit_examples", "data.name", "data.kind", "seed", "trainer.accelerator"),
    *("trainer.strategy", "trainer.devices", "trainer.precision", "sweep.study_name"),
)
# Nodes that are always built. A callback may be switched off by null, and so may a logger.
BUILT = (
    *("task", "task.preparation", "data.source", "tokenizer", "model"),
    *("optimizer", "scheduler", "trainer"),
)
EMPTY = Module("", {}, {})


def kind_faults(frozen: dict[str, Any]) -> Iterator[UserError]:
    """The keys whose values are of another kind than the commands rely on."""
    for key, annotation in KINDS.items():
        parent, last = _parent(frozen, key)
        if parent is None or last not in parent:
            continue
        reason = misfit(parent[last], ast.parse(annotation, mode="eval").body, EMPTY)
        if reason is not None:
            yield UserError(f"{key} must be {reason[0]}, but is {shown(parent[last])}", reason[1])
    for key in NEEDED:
        parent, last = _parent(frozen, key)
        if parent is not None and last not in parent:
            yield UserError(f"{key} must be given, but is not there", f"add +{key}=...")
    for key in ("callbacks", "logger", "decoding", "sweep"):
        if not isinstance(frozen.get(key), (dict, type(None))):
            yield UserError(f"{key} must be a mapping or null, but is {shown(frozen[key])}")
    yield from _target_faults(frozen)
    yield from _number_faults(frozen, "")


def _target_faults(frozen: dict[str, Any]) -> Iterator[UserError]:
    """Every node that will be built is there and names something that may be built."""
    needed = list(BUILT)
    if isinstance(frozen.get("task"), dict) and frozen["task"].get("validation_decoder"):
        needed += ["task.validation_decoder", "decoding"]
    for key in needed:
        parent, last = _parent(frozen, key)
        node = parent.get(last) if parent is not None else None
        if not isinstance(node, dict) or TARGET not in node:
            yield UserError(
                f"{key} must be a mapping with a {TARGET}, but is {shown(node)}",
                f"choose one of Heed's own configs for {key.split('.')[0]}",
            )
    for group in ("callbacks", "logger"):
        nodes = frozen.get(group)
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            if node is not None and not isinstance(node, dict):
                yield UserError(f"{group}.{name} must be a mapping or null, but is {shown(node)}")
            elif group == "logger" and node is not None and TARGET not in node:
                yield UserError(f"{group}.{name}.{TARGET} must be given, but is not")
    yield from _names(frozen, "")


def _names(node: Any, key: str) -> Iterator[UserError]:
    if isinstance(node, dict):
        if TARGET in node and not dotted(node[TARGET]):
            yield UserError(
                f"{f'{key}.' if key else ''}{TARGET} must be the dotted name of a class or "
                f"function, but is {shown(node[TARGET])}",
                "write it as package.module.Name",
            )
        for name, value in node.items():
            yield from _names(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _names(value, f"{key}[{index}]")


def _number_faults(node: Any, key: str) -> Iterator[UserError]:
    """Numbers that no computer counts with; what another package builds may take any."""
    if isinstance(node, dict):
        if not str(node.get(TARGET, OURS)).startswith(OURS):
            return
        for name, value in node.items():
            yield from _number_faults(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _number_faults(value, f"{key}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        yield UserError(f"{key} must be a finite number, but is {node}")
    elif isinstance(node, int) and abs(node) > LARGEST:
        yield UserError(f"{key} must be at most {LARGEST:,}, but is {_short(node)}")


def _short(number: int) -> str:
    return f"a number of {int(number.bit_length() * math.log10(2)) + 1} digits"


def _parent(config: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """The mapping that should hold a key, or None where there is none; and the key's last word."""
    *parents, last = key.split(".")
    node: Any = config
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else None), last
