"""Runs that are one system: those that differ in nothing but their seed, or as the user says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heed.tracking.digest import Digest
from heed.tracking.run_filters import value_of

# Where a run was recorded and how it was watched changes nothing of what was trained.
_ASIDE = re.compile(
    r"(paths|logger|links|sweep|choices\.(paths|logger|trainer|callbacks|sweep|hydra.*)"
    r"|callbacks\.(progress|trace|sample_predictions|pruning|report.*))(\..*)?"
    r"|seed|resume|.*\.(cache_dir|num_workers|n_samples)|trainer\.(profiler|log_every_n_steps|requeue)"
)


@dataclass
class Group:
    """One system: some runs, and what sets it apart from the other groups.

    Attributes:
        label: Its name in tables, such as "model=small".
        runs: Its runs.
        values: By key, what all of its runs have in common and other groups have not.
    """

    label: str
    runs: list[Digest]
    values: dict[str, Any]

    @property
    def seeds(self) -> list[int | None]:
        """The seed of each run."""
        return [run.seed for run in self.runs]


def group_runs(runs: Sequence[Digest], by: Sequence[str] = ()) -> list[Group]:
    """The groups, in the order of their first runs.

    Args:
        runs: The runs.
        by: Keys whose values make a group; without any, all that matters but the seed does.
    """
    if by:
        keys = list(by)
        names = [{key: value_of(run, key) for key in keys} for run in runs]
    else:
        names = [settings_of(run) for run in runs]
        keys = []
    groups: dict[str, tuple[dict[str, Any], list[Digest]]] = {}
    for name, run in zip(names, runs, strict=True):
        groups.setdefault(json.dumps(name, sort_keys=True), (name, []))[1].append(run)
    settings = [name for name, _ in groups.values()]
    if not by:
        keys = telling_keys(settings)
    return [
        Group(
            label_of({key: name.get(key) for key in keys}, members),
            members,
            {key.removeprefix("choices."): name.get(key) for key in keys},
        )
        for name, members in groups.values()
    ]


def settings_of(run: Digest) -> dict[str, Any]:
    """The config values that make a run another system than its neighbours, by dotted key."""
    config = run.config
    seeds = {key.removeprefix("links.") for key, value in config.items() if value == "seed"}
    return {key: v for key, v in config.items() if key not in seeds and not _ASIDE.fullmatch(key)}


def telling_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """A short list of keys by which some settings can be told apart.

    Choices come first, then the name, then single values; one that tells no more than those before
    it is left out. So `model=small` stands for the dozen sizes that it sets.
    """
    every = dict.fromkeys(key for one in settings for key in one)
    varying = [key for key in every if len({_text(one.get(key)) for one in settings}) > 1]
    varying.sort(key=lambda key: (not key.startswith("choices."), key != "name", "_target_" in key))
    told: list[str] = []
    parts = 1
    for key in varying:
        count = len({tuple(_text(one.get(name)) for name in (*told, key)) for one in settings})
        if count > parts:
            told, parts = [*told, key], count
        if parts == len(settings):
            break
    return told


def label_of(values: dict[str, Any], runs: Sequence[Digest]) -> str:
    """The values as somebody would type them; the task where there are none."""
    words = [f"{key.removeprefix('choices.')}={_shown(value)}" for key, value in values.items()]
    return " ".join(words) or runs[0].task or runs[0].path.name


def pooled_keys(group: Group) -> list[str]:
    """Keys besides the seed in which the runs of a group differ, though it takes them for one."""
    return [
        key.removeprefix("choices.") for key in telling_keys([settings_of(r) for r in group.runs])
    ]


def _text(value: Any) -> str:
    return json.dumps(value, default=str)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
