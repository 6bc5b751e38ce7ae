"""What a run folder's config may have built here: a folder may come from anybody.

A `_target_` is the name of code to run. What somebody types, or keeps in the folder that they give
by --config-dir, is theirs to choose. A config that is read from a run folder may be a stranger's,
so each `_target_` in it must be

- one that Heed's own configs name (a list, not a package: Heed has functions that write files), or
- code in a module that the user trusts: `--trust PACKAGE`, or the variable HEED_TRUST, or
- what this very run was trained with by this user on this machine (see `own_runs`).

The names are compared as text, before anything is imported.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heed.commands.bind import targets
from heed.commands.build import TARGET
from heed.commands.compose import config_dir
from heed.errors import UserError, raise_together

VARIABLE = "HEED_TRUST"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_NAMED = re.compile(rf"^\s*(?:- )?{TARGET}:\s*(heed\.[\w.]+)\s*(?:#.*)?$", re.MULTILINE)
# A choice is a group's name and an option's, and no other word that Hydra would understand.
_GROUP = re.compile(r"[A-Za-z_]\w*(/\w+)*")
_OPTION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
# Keys that hold places; of these a stranger's config may link only what Heed's own configs link.
_PLACES = ("path", "dir", "store", TARGET)
_LINKED_PLACES = {
    "data.cache_dir": "paths.cache_dir",
    "data.source.path": "data.path",
}


@functools.cache
def own_targets() -> frozenset[str]:
    """Every target that Heed's own configs name."""
    found: set[str] = set()
    for path in config_dir().rglob("*.yaml"):
        found.update(_NAMED.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def trusted_modules(typed: Iterable[str] = ()) -> list[str]:
    """The modules that the user trusts: those of `--trust` and of the variable HEED_TRUST.

    Raises:
        UserError: If one is no module's name.
    """
    named = [(word, "--trust") for word in typed]
    named += [(word, VARIABLE) for word in os.environ.get(VARIABLE, "").split(",")]
    modules = []
    for word, where in named:
        name = word.strip()
        if not name:
            continue
        if not _DOTTED.fullmatch(name):
            raise UserError(
                f"{where} must name modules, but has {name!r}",
                f"write {where}=package,other.module",
            )
        modules.append(name)
    return modules


def check_targets(config: dict[str, Any], modules: Iterable[str], *, place: Path) -> None:
    """Refuse targets that are neither Heed's own nor trusted. Nothing is imported.

    Args:
        config: The config of a run folder.
        modules: Trusted modules, and whole targets.
        place: The config's file, for errors.

    Raises:
        UserError: For each such target: its key, and what to type if it can be trusted.
    """
    allowed = tuple(modules)
    raise_together(list(_refused(config, allowed, place)))


def _refused(config: dict[str, Any], allowed: Sequence[str], place: Path) -> Iterator[UserError]:
    for key, node in targets(config):
        target = node[TARGET]
        where = f"{key}.{TARGET}" if key else TARGET
        if not isinstance(target, str) or not _DOTTED.fullmatch(target):
            yield UserError(
                f"{where} in {place} must be the dotted name of a class or function, "
                f"but is {target!r}"
            )
        elif target not in own_targets() and not _within(target, allowed):
            module = target.rpartition(".")[0] or target
            yield UserError(
                f"{where} in {place} must be one of Heed's own or be trusted, but is {target!r}; "
                "a run folder may come from anybody, and this would run its code",
                f"if you know it: --trust {module}, or {VARIABLE}={module}",
            )


def _within(target: str, modules: Sequence[str]) -> bool:
    return any(target == module or target.startswith(f"{module}.") for module in modules)


def foreign_targets(config: dict[str, Any]) -> list[str]:
    """The targets of a config that are not Heed's own, each once."""
    found = (str(node[TARGET]) for _, node in targets(config))
    return sorted({target for target in found if target not in own_targets()})


def check_words(config: dict[str, Any], *, place: Path) -> None:
    """Refuse what would be read as overrides, but was not written by `heed train`.

    When a run is amended, its choices are composed again, and a key that is set sets its links too.
    So a choice must be a plain name, and a link must not lead to a target or to a place.

    Raises:
        UserError: If one is something else.
    """
    for group, chosen in config["choices"].items():
        names = chosen if isinstance(chosen, list) else [chosen]
        plain = all(name is None or _OPTION.fullmatch(str(name)) for name in names)
        if not (isinstance(group, str) and _GROUP.fullmatch(group) and plain):
            raise UserError(
                f"choices in {place} must name groups and their options, "
                f"but has {group!r}: {chosen!r}"
            )
    for follower, leader in config["links"].items():
        last = str(follower).rpartition(".")[2]
        if last.endswith(_PLACES) and _LINKED_PLACES.get(str(follower)) != leader:
            raise UserError(
                f"links in {place} must not lead to {follower!r}, but {leader!r} is linked to it"
            )
