"""Configs composed by Hydra and frozen into plain values, for one run or for a sweep of runs.

This file, `sweep` and `config_faults` are the only ones that touch Hydra, and they import it only
when called. A composed config is "frozen": dict, list, str, int, float, bool and None, every
interpolation resolved. `choices` in it keeps the name that was chosen in each group, and `links`
which key took its value from which other, so that changing one later changes both.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heed.commands.groups import groups
from heed.commands.pretrained_model import fill_in
from heed.errors import UserError, raise_together
from heed.tracking.config_file import leaves

Config = dict[str, Any]
Job = Callable[[Config, list[str]], "float | None"]
Check = Callable[[Config], None]

MISSING = "???"
REFERENCE = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")
MAY_BE_EMPTY = ("logger", "callbacks")  # groups that may be switched off: logger=null
MAY_BE_LEFT_OUT = ("adapter", "experiment", "debug", "sweep")
ONE_CHOICE = (
    *("paths", "task", "data", "tokenizer", "model"),
    *("finetuning", "adapter", "optimizer", "scheduler", "trainer", "decoding"),
)
# Mappings whose keys are the user's, so that a new one needs no +.
OPEN = (
    *("data.columns", "data.split_columns", "tokenizer.special_tokens", "logger.mlflow.tags"),
    *("sweep.params", "sweep.when", "sweep.sampler_options", "sweep.pruner_options"),
)


def config_dir() -> Path:
    """The folder of Heed's own configs: inside the package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise AssertionError(f"Heed is installed without its configs (looked beside {package})")


def config_dirs(user: Path | None = None) -> list[Path]:
    """Where configs are looked for; of two with the same name the first wins."""
    return [config_dir()] if user is None else [user, config_dir()]


def compose(
    config_name: str,
    overrides: list[str],
    config_dir: Path | None = None,
    *,
    whole: bool = True,
) -> Config:
    """Compose and freeze one config.

    Args:
        config_name: The primary config, such as "train".
        overrides: `key=value` words in Hydra's grammar.
        config_dir: The user's own folder of configs, searched before Heed's.
        whole: Whether all of it is wanted; see `freeze`.

    Raises:
        UserError: If an override, a choice or a file is wrong; all such mistakes together.
    """
    overrides = tidy(overrides, config_dirs(config_dir))
    with hydra_session(config_dir) as hydra, in_house_words(config_name, overrides, config_dir):
        from hydra.types import RunMode

        composed = hydra.compose_config(config_name, overrides, RunMode.RUN, from_shell=False)
        return freeze(composed, whole=whole)


def tidy(overrides: list[str], folders: list[Path]) -> list[str]:
    """Overrides as Hydra reads them.

    `GROUP=null` chooses nothing, `~/` is the home folder, and a mapping such as `data.columns`
    takes new keys.

    Raises:
        UserError: If a group that takes one choice is given a list, which Hydra would merge.
    """
    known = {*groups(folders), *MAY_BE_LEFT_OUT}
    tidied, errors = [], []
    for word in overrides:
        key, _, value = word.partition("=")
        if key in MAY_BE_LEFT_OUT and value in ("null", "None"):
            continue
        if key in known and value in ("null", "None"):
            word = f"{key}=[]"
        elif key in known and value.lower() == "nan":
            word = f"{key}='{value}'"  # a name (debug=nan), where Hydra reads a number
        elif any(key == name or key.startswith(f"{name}.") for name in OPEN):
            word = f"++{word}"
        elif value == "~" or value.startswith("~/"):
            word = f"{key}={os.path.expanduser(value)}"
        elif key in ONE_CHOICE and value.startswith("[") and "," in value:
            remedy = f"add -m and write {key}={value.strip('[]')} for one run each"
            errors.append(UserError(f"{key} must be one name, but is {value}", remedy))
        tidied.append(word)
    raise_together(errors)
    return tidied


def freeze(composed: Any, *, whole: bool = True) -> Config:
    """The plain values of a composed config, without Hydra's own part.

    Args:
        composed: The config as Hydra has it; what it says of itself is taken away.
        whole: Whether it has to be complete, with what `model.pretrained` brings; not where some
            of its groups will be thrown away.

    Raises:
        UserError: If a value that must be given is still `???`, or a checkpoint cannot be had.
    """
    from omegaconf import OmegaConf, open_dict

    choices = OmegaConf.to_container(composed.hydra.runtime.choices)
    assert isinstance(choices, dict)
    with open_dict(composed):
        del composed["hydra"]
    links = dict(_links(OmegaConf.to_container(composed, resolve=False)))
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    assert isinstance(plain, dict)
    raise_together(
        [
            UserError(f"{key} must be given, but is not", f"add {key}=...")
            for key, value in leaves(plain)
            if whole and value == MISSING
        ]
    )
    frozen = {str(key): _expand_home(value) for key, value in plain.items()}
    if "task" in frozen:
        frozen = {**{group: {} for group in MAY_BE_EMPTY if not frozen.get(group)}, **frozen}
    chosen = {
        str(group): name
        for group, name in reversed(choices.items())
        if not str(group).startswith("hydra") and name is not None
    }
    if "logger" in frozen:
        chosen["logger"] = list(frozen["logger"])  # Hydra keeps no choices of several
    if chosen:
        frozen["choices"] = chosen
    if links:
        frozen["links"] = links
    return fill_in(frozen) if whole else frozen


def _links(unresolved: Any) -> Iterator[tuple[str, str]]:
    """(key, the key whose value it takes) for each value that is `${key}` and nothing else."""
    for key, value in leaves(unresolved):
        match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match:
            yield key, match[1]


def show(
    config_name: str, overrides: list[str], config_dir: Path | None = None, part: str = "job"
) -> str:
    """The composed config as YAML: the "job" part resolved, "hydra" or "all" as written."""
    import yaml

    if part == "job":
        frozen = compose(config_name, overrides, config_dir)
        return yaml.safe_dump(frozen, sort_keys=False, allow_unicode=True)
    overrides = tidy(overrides, config_dirs(config_dir))
    with hydra_session(config_dir) as hydra, in_house_words(config_name, overrides, config_dir):
        from hydra.types import RunMode
        from omegaconf import OmegaConf

        composed = hydra.compose_config(config_name, overrides, RunMode.RUN, from_shell=False)
        return OmegaConf.to_yaml(composed if part == "all" else composed.hydra)


@contextlib.contextmanager
def hydra_session(user: Path | None) -> Iterator[Any]:
    """Hydra with the user's configs before Heed's own; global state is put back afterwards."""
    from hydra import initialize_config_dir
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class UserConfigs(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.prepend("user", f"file://{user}", anchor="main")

    plugins = Plugins.instance()
    searchers = plugins.plugin_type_to_subclass_list[SearchPathPlugin]
    before = list(searchers)
    if user is not None:
        searchers.append(UserConfigs)
    try:
        with initialize_config_dir(str(config_dir()), job_name="heed", version_base="1.3"):
            yield GlobalHydra.instance().hydra
    finally:
        searchers[:] = before


@contextlib.contextmanager
def in_house_words(
    config_name: str, overrides: list[str], user: Path | None, multirun: bool = False
) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into the errors that users see."""
    try:
        yield
    except UserError:
        raise
    except (
        Exception
    ) as error:  # odd words make Hydra fail in ways of its own, assertions among them
        from heed.commands.config_faults import explain

        explained = explain(error, config_name, overrides, config_dirs(user), multirun=multirun)
        if explained is None:
            raise
        raise explained from error


def _expand_home(value: Any) -> Any:
    """`~/folder` spelt out, wherever it stands: a shell does not do it after `key=`."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, dict):
        return {str(key): _expand_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand_home(item) for item in value]
    return value
