"""The config groups and their options, read from the folders without Hydra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HIDDEN = "_"  # a file whose name starts so is a part of others, and no choice


def groups(folders: list[Path]) -> list[str]:
    """The names of all config groups, such as "model"; nested ones as "group/inner"."""
    found = set()
    for folder in folders:
        for path in _configs(folder):
            if path.parent != folder:
                found.add(path.parent.relative_to(folder).as_posix())
    return sorted(found)


def group_options(folders: list[Path], group: str) -> dict[str, Path]:
    """The options of one group and their files; of two with the same name the first folder's."""
    options: dict[str, Path] = {}
    for folder in folders:
        for path in sorted([*folder.glob(f"{group}/*.yaml"), *folder.glob(f"{group}/*.yml")]):
            if not path.name.startswith(HIDDEN):
                options.setdefault(path.stem, path)
    return dict(sorted(options.items()))


def description(path: Path) -> str:
    """The first comment line of a config, without its `# `; empty if it does not begin with one."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("#") and "@package" not in line:
                return line.lstrip("#").strip()
            if line.strip() and not line.startswith("#"):
                break
    return ""


def read_yaml(path: Path) -> dict[str, Any]:
    """A config file as it stands, nothing composed or resolved."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return content if isinstance(content, dict) else {}


def _configs(folder: Path) -> list[Path]:
    return [*folder.rglob("*.yaml"), *folder.rglob("*.yml")]
