"""The floors: who may import whom, read from the source of every module.

A room imports its own modules and those of the rooms named for it here; a library that only some
rooms may know is named with them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "heed"

EVERYWHERE = {"arrival", "cores", "errors", "files", "memory", "ragged"}
GROUND = {"text", "backbone", "heads", "metrics"}
FIRST = {"data", "decoding", "pretrained", "finetuning"}
BELOW_COMMANDS = (
    GROUND
    | FIRST
    | {
        *("tasks", "training", "tracking", "sweeps", "insight", "exporting"),
    }
)

# Room -> the other rooms that it may import, besides those of `EVERYWHERE`.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "arrival": set(),
    "cores": set(),
    "errors": set(),
    "files": set(),
    "memory": set(),
    "ragged": set(),
    "text": set(),
    "backbone": set(),
    "heads": {"backbone"},
    "metrics": set(),
    "data": GROUND,
    "decoding": GROUND,
    "pretrained": GROUND,
    "finetuning": GROUND,
    "tasks": GROUND | FIRST,
    "training": GROUND | FIRST,
    "tracking": GROUND | FIRST,
    "sweeps": GROUND | FIRST,
    "insight": GROUND | FIRST | {"tasks"},
    "exporting": GROUND | FIRST | {"tasks", "__init__"},
    "commands": BELOW_COMMANDS | {"__init__"},
    "cli": BELOW_COMMANDS | {"commands", "__init__"},
    "__main__": {"cli"},
}
# Library -> the rooms that may import it.
KNOWN_TO: dict[str, set[str]] = {
    "hydra": {"commands"},
    "omegaconf": {"commands"},
    "wandb": {"tracking"},
    "mlflow": {"tracking"},
    "lightning": {"data/module", "tasks", "training", "tracking", "insight", "commands"},
    "datasets": {"data", "commands"},
    "optuna": {"sweeps"},
    "peft": {"finetuning"},
}
# What must answer at once imports none of these when it is itself imported.
LIGHT = ("__init__", "__main__", "cli", "cores", "errors", "files", "memory", "commands")
HEAVY = (
    *("torch", "lightning", "datasets", "transformers", "tokenizers", "torchmetrics"),
    *("optuna", "matplotlib", "pandas", "peft"),
)
# What one task may import of `tasks`.
SHARED_BY_TASKS = {
    *("base", "generation", "language_modelling", "writers"),
    *("slot_model", "slot_pool", "slot_writer"),
}


class Import(NamedTuple):
    """One imported module, as `a.b.c`, and whether importing the file is enough to import it."""

    module: str
    line: int
    at_once: bool


def imports_of(path: Path, package: str) -> Iterator[Import]:
    """Every import of a file, with relative ones made absolute."""

    def visit(node: ast.AST, at_once: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(name.name, child.lineno, at_once) for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    above = package.split(".")
                    above = above[: len(above) - child.level + 1]
                    base = ".".join([*above, base] if base else above)
                # `from heed import text` imports a room; `from heed.text import words` a module.
                for name in child.names:
                    yield Import(f"{base}.{name.name}", child.lineno, at_once)
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield from visit(child, False)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for part in child.body:
                    yield from visit(ast.Module([part], []), False)
                for part in child.orelse:
                    yield from visit(ast.Module([part], []), at_once)
            else:
                yield from visit(child, at_once)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


def faults(package: Path) -> list[str]:
    """Every import that breaks a rule, in words."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        room = parts[0]
        if room not in MAY_IMPORT:
            found.append(f"{'/'.join(parts)}: heed.{room} stands on no floor; give it one")
            continue
        inside = ".".join(("heed", *parts[:-1]))
        for one in imports_of(path, inside):
            why = fault_of(parts, one)
            if why:
                found.append(f"{'/'.join(parts)}.py:{one.line} imports {one.module}: {why}")
    return found


def fault_of(parts: tuple[str, ...], one: Import) -> str | None:
    """What is wrong with one import of the module `parts`; None if nothing is."""
    room, *names = one.module.split(".")
    here = parts[0]
    if room == "heed":
        there = names[0] if names and names[0] in MAY_IMPORT else "__init__"
        if there not in MAY_IMPORT[here] | EVERYWHERE | {here}:
            allowed = sorted((MAY_IMPORT[here] | EVERYWHERE) - {"__init__"})
            return f"heed.{here} may import of heed only {', '.join(allowed)}"
        if here == there == "tasks" and names[1] not in SHARED_BY_TASKS:
            return f"a task may import of heed.tasks only {', '.join(sorted(SHARED_BY_TASKS))}"
        return None
    if room in KNOWN_TO and not {here, "/".join(parts)} & KNOWN_TO[room]:
        return f"{room} is known only to {', '.join(sorted(KNOWN_TO[room]))}"
    if room in HEAVY and here in LIGHT and one.at_once:
        return f"heed.{here} must answer without {room}; import it inside the function"
    return None


def test_the_floors_hold():
    found = faults(PACKAGE)
    assert not found, "\n".join(["imports against the floors:", *found])


def test_every_room_is_on_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or is_room(path)}
    assert rooms <= set(MAY_IMPORT)
    assert {"text", "backbone", "data", "tasks", "training", "tracking", "commands"} <= rooms


def is_room(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.py"))


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("text/a.py", "import torch\nfrom heed.errors import UserError", None),
        ("text/a.py", "from heed.data.batch import Tokens", "heed.text may import of heed only"),
        ("text/a.py", "from ..data import batch", "heed.text may import of heed only"),
        ("text/a.py", "from heed import data", "heed.text may import of heed only"),
        ("text/a.py", "def f():\n    import heed.data.batch", "text/a.py:2 imports heed.data"),
        ("heads/a.py", "from heed.backbone.layout import Padded", None),
        ("backbone/a.py", "from heed.heads.loss import Loss", "heed.backbone may import"),
        ("backbone/a.py", "import lightning.pytorch as pl", "lightning is known only to"),
        ("metrics/a.py", "import hydra", "hydra is known only to commands"),
        ("data/module.py", "from lightning.pytorch import LightningDataModule", None),
        ("data/a.py", "import lightning", "lightning is known only to"),
        ("data/a.py", "from heed.tasks.base import Task", "heed.data may import"),
        ("data/a.py", "from heed.tracking.record import RunRecord", "heed.data may import"),
        ("decoding/a.py", "import heed.tasks.base", "heed.decoding may import"),
        ("tasks/a.py", "from heed.tasks.base import Task", None),
        ("tasks/a.py", "from .translation import Translation", "a task may import of heed.tasks"),
        ("tasks/a.py", "import heed.tasks.translation", "a task may import of heed.tasks"),
        ("tasks/a.py", "import wandb", "wandb is known only to tracking"),
        ("tasks/a.py", "from omegaconf import DictConfig", "omegaconf is known only to commands"),
        ("training/a.py", "from heed.tasks.base import Task", "heed.training may import"),
        ("training/a.py", "from heed.commands.build import build", "heed.training may import"),
        ("tracking/a.py", "from heed.training import trainer", "heed.tracking may import"),
        (
            "tracking/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import heed.tasks.base",
            "tracking/a.py:3 imports heed.tasks.base",
        ),
        ("insight/a.py", "from heed.tasks.base import Task", None),
        ("tasks/a.py", "from heed.cli import main", "heed.tasks may import"),
        ("commands/a.py", "from heed import cli", "heed.commands may import"),
        ("commands/a.py", "from hydra import compose\nfrom heed import __version__", None),
        ("commands/a.py", "def f():\n    import torch", None),
        ("commands/a.py", "try:\n    import torch\nexcept ImportError: ...", "must answer without"),
        ("cli.py", "from torch import nn", "heed.cli must answer without torch"),
        (
            "cli.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import nn",
            None,
        ),
        ("errors.py", "import torch", "heed.errors must answer without torch"),
        ("helpers/a.py", "", "heed.helpers stands on no floor"),
    ],
)
def test_the_checker_sees_faults_and_nothing_else(tmp_path, file, source, fault):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    found = faults(tmp_path)
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert fault in found[0]


def test_importing_every_command_imports_nothing_heavy():
    """What modules import at once adds up: the rooms below must not bring torch along either."""
    modules = [f"heed.commands.{path.stem}" for path in (PACKAGE / "commands").glob("[!_]*.py")]
    program = (
        f"import sys, heed.cli, {', '.join(sorted(modules))}\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
