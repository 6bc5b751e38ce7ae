"""What must hold between the values of a config, checked all together before data are read.

A rule is a function from the frozen config to the mistakes it sees. It looks only at keys that
are there, so that a user's own groups and targets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from heed.commands.bind import bind, shown
from heed.commands.build import TARGET
from heed.commands.compose import config_dirs
from heed.commands.data_rules import DATA_RULES
from heed.commands.fine_tuning_rules import FINE_TUNING_RULES
from heed.commands.groups import group_options, groups, read_yaml
from heed.commands.kinds import kind_faults
from heed.commands.model_rules import MODEL_RULES
from heed.commands.ranges import range_faults
from heed.commands.trainer_rules import TRAINER_RULES
from heed.errors import UserError, UserErrors, nearest, raise_together

Config = dict[str, Any]
Rule = Callable[[Config, list[Path]], Iterable[UserError]]

REQUIRED = ("task", "data", "tokenizer", "model", "optimizer", "scheduler", "trainer")
OWN_KEYS = ("choices", "links")  # written by freezing


def validate(frozen: Config, config_dir: Path | None = None) -> None:
    """Check a frozen training config: every node against what it builds, and all rules.

    Args:
        frozen: The config.
        config_dir: The user's own folder of configs, for what an error may suggest.

    Raises:
        UserError: With every mistake found.
    """
    folders = config_dirs(config_dir)
    missing = list(groups_are_there(frozen, folders))
    raise_together(missing)
    kinds = list(kind_faults(frozen))
    faults = [*kinds, *bind(frozen)]
    if kinds:
        raise_together(_once_a_key(faults))  # the rules rely on kinds
    told = {fault.problem.split(" ")[0] for fault in faults}
    for rule in RULES:
        for fault in rule(frozen, folders):
            key = fault.problem.split(" ")[0]
            if key not in told:  # one word on a key is enough; it may be all one mistake
                faults.append(fault)
                told.add(key)
    raise_together(faults)


def _once_a_key(faults: list[UserError]) -> list[UserError]:
    return list({fault.problem.split(" ")[0]: fault for fault in reversed(faults)}.values())[::-1]


def groups_are_there(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """Every group that a run is made of has been chosen."""
    for group in REQUIRED:
        if not isinstance(frozen.get(group), dict):
            remedy = f"choose one of: {', '.join(group_options(folders, group))}"
            yield UserError(f"{group} must be chosen, but is null", remedy)


def keys_are_known(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """No misspelt keys where no signature would tell: at the top, and in data and tokenizer."""
    known = {*_keys(folders[-1] / "train.yaml"), *OWN_KEYS}
    known |= {group.split("/")[0] for group in groups(folders)}
    for key in frozen:
        if key not in known and not key.startswith("_"):
            yield UserError(f"{key} is not a key of the config", nearest(key, known - {*OWN_KEYS}))
    for group in ("data", "tokenizer", "paths"):
        node = frozen.get(group)
        if not isinstance(node, dict) or TARGET in node:
            continue
        shipped = (folders[-1] / group).glob("*.yaml")
        valid = {name for path in shipped for name in _keys(path)} - {"defaults"}
        for key in node:
            if key not in valid:
                yield UserError(f"{group}.{key} is not a key of the config", nearest(key, valid))


def numbers_are_in_range(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """Every number is in its range."""
    yield from range_faults(frozen)


def name_is_a_folder(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The run's name can be the name of a folder."""
    name = frozen.get("name")
    if not isinstance(name, str) or not name or name in (".", "..") or "/" in name:
        yield UserError(
            f"name must be a plain folder name, but is {shown(name)}", "try name=my_run"
        )


def selection_reads_validation(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """Checkpoints and stopping are chosen by validation scores, never by test scores."""
    monitors = {"task.monitor": frozen["task"].get("monitor")}
    for name, callback in (frozen.get("callbacks") or {}).items():
        if isinstance(callback, dict) and callback.get("monitor") != monitors["task.monitor"]:
            monitors[f"callbacks.{name}.monitor"] = callback.get("monitor")
    for key, monitor in monitors.items():
        if isinstance(monitor, str) and not monitor.startswith("val/"):
            score = monitor.rpartition("/")[2]
            yield UserError(
                f"{key} must be a validation score (val/...), but is {monitor!r}",
                f"try {key}=val/{score}",
            )


def search_is_right(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The settings of a search can be read."""
    node = frozen.get("sweep")
    if not node:
        return
    from heed.sweeps.settings import Settings

    task = frozen["task"]
    missing = [f"task.{name}" for name in ("monitor", "mode") if name not in task]
    if missing:
        for key in missing:
            yield UserError(f"{key} must be given for a search, but is not", f"add +{key}=...")
        return
    try:
        Settings.read(node, monitor=task["monitor"], mode=task["mode"], seed=frozen["seed"])
    except UserError as error:
        yield from error.errors if isinstance(error, UserErrors) else [error]


def _keys(path: Path) -> set[str]:
    return {str(key) for key in read_yaml(path)} - {"defaults"}


RULES: tuple[Rule, ...] = (
    keys_are_known,
    numbers_are_in_range,
    name_is_a_folder,
    *DATA_RULES,
    *MODEL_RULES,
    *FINE_TUNING_RULES,
    selection_reads_validation,
    *TRAINER_RULES,
    search_is_right,
)
