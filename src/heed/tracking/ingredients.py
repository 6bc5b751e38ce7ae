"""What went into a run, and where two runs differ in it: config, code, data, versions, machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heed.tracking.config_file import leaves
from heed.tracking.saved_run import SavedRun

SPLITS = ("train", "validation", "test")
INGREDIENTS = (
    *("config", "code", "data", "tokenizer", "init_from"),
    *("versions", "platform", "hardware", "computing"),
)
NONE = "none"  # what stands for a value that one of the runs does not have
_NOT_COMPARED = ("paths.run_dir", "links", "resume")
# Config keys that say where and how a run is shown and kept, but not what is learned; and places
# of data, whose fingerprints are compared.
WITHOUT_EFFECT = (
    *("paths.", "logger", "choices.logger", "choices.paths", "name", "data.num_workers"),
    *("data.path", "data.source.path", "data.cache_dir", "tokenizer.path", "model.init_from"),
    *("data.from_cache", "trainer.requeue", "trainer.asynchronous_checkpoints"),
    *("callbacks.progress", "callbacks.last", "callbacks.trace", "choices.experiment"),
)
_OF_A_SPLIT = ("fingerprint", "rows", "records", "cut_rows", "batches")
_DIFFS = {"heed": "code.diff", "project": "project.diff"}


class Change(NamedTuple):
    """One value that two runs do not share.

    Attributes:
        name: The key, package, split or fact.
        one: Its value in the first run, `NONE` where it has none.
        other: Its value in the second.
    """

    name: str
    one: Any
    other: Any


def ingredient_changes(one: SavedRun, other: SavedRun) -> dict[str, list[Change]]:
    """Where two runs differ in what went into them: ingredient -> changes; all ingredients."""
    return {name: list(_changes(name, one, other)) for name in INGREDIENTS}


def with_effect(changes: Mapping[str, list[Change]]) -> dict[str, list[Change]]:
    """Those changes that a run's numbers may come from; ingredients without any are left out."""
    kept = {
        name: [
            change
            for change in found
            if not (name == "config" and change.name.startswith(WITHOUT_EFFECT))
            and not (name == "platform" and change.name == "host")
            and not (name == "hardware" and change.name == "memory_gib")
        ]
        for name, found in changes.items()
    }
    return {name: found for name, found in kept.items() if found}


def _changes(ingredient: str, one: SavedRun, other: SavedRun) -> Iterator[Change]:
    if ingredient == "config":
        yield from unequal(_flat(one.config), _flat(other.config), without=_NOT_COMPARED)
    elif ingredient == "code":
        yield from unequal(_code(one), _code(other))
    elif ingredient == "data":
        yield from unequal(_data(one), _data(other))
    elif ingredient == "init_from":
        ancestors = [_flat(_ancestor(run.fields["lineage"])) for run in (one, other)]
        yield from unequal(ancestors[0], ancestors[1], without=("run", "place", "name"))
    elif one.fields[ingredient] and other.fields[ingredient]:  # else an older Heed wrote one
        yield from unequal(_flat(one.fields[ingredient]), _flat(other.fields[ingredient]))


def _ancestor(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that a run started from: another run's, or a checkpoint of others."""
    return lineage.get("init_from") or lineage.get("pretrained") or {}


def unequal(
    one: Mapping[str, Any], other: Mapping[str, Any], *, without: tuple[str, ...] = ()
) -> Iterator[Change]:
    """Keys whose values differ, in order, but for those that begin with a word of `without`."""
    for key in dict.fromkeys([*one, *other]):
        values = one.get(key, NONE), other.get(key, NONE)
        if not same(*values) and not key.startswith(without):
            yield Change(key, *values)


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same; 1 is 1.0 but not true."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other)


def _flat(node: Any) -> dict[str, Any]:
    return dict(leaves(node))


def _code(run: SavedRun) -> dict[str, Any]:
    """Commit and changes since it of each checkout that the run's code came from."""
    found: dict[str, Any] = {}
    for name, facts in run.fields["code"].items():
        if not isinstance(facts, Mapping):
            continue
        found[f"{name} commit"] = facts.get("commit", NONE)
        diff = run.folder / _DIFFS[name] if name in _DIFFS and facts.get("diff") else None
        found[f"{name} changes since the commit"] = _fingerprint_of(diff)
        found[f"{name} files that git does not track"] = (
            ", ".join(facts.get("untracked") or []) or NONE
        )
    return found


def _fingerprint_of(diff: Path | None) -> str:
    if diff is None:
        return NONE
    try:
        content = diff.read_bytes()
    except OSError:
        return f"{diff.name} (missing)"
    lines = content.count(b"\n")
    return f"{diff.name} ({lines:,} lines, {hashlib.sha256(content).hexdigest()[:12]})"


def _data(run: SavedRun) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in SPLITS:
        facts = run.fields["data"].get(split)
        if isinstance(facts, Mapping):
            found |= {f"{split} {key}": facts[key] for key in _OF_A_SPLIT if key in facts}
    labels = run.fields["data"].get("labels")
    return found | ({"labels": ", ".join(map(str, labels))} if labels else {})
