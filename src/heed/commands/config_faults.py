"""What is wrong with overrides and config files, said in the words of Heed's other errors.

Hydra stops at the first mistake and answers in its own terms. When it does, the overrides are
looked at once more, one by one, and all their mistakes are told together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.groups import group_options, groups
from heed.errors import UserError, UserErrors, nearest

Override = Any  # hydra.core.override_parser.types.Override


def explain(
    error: Exception,
    config_name: str,
    overrides: list[str],
    folders: list[Path],
    *,
    multirun: bool,
) -> UserError | None:
    """The mistakes behind what Hydra, OmegaConf or PyYAML raised; None if it was none of these.

    Args:
        error: What was raised.
        config_name: The primary config.
        overrides: The words that were composed.
        folders: Where configs are looked for.
        multirun: Whether several values for a key are allowed.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    in_file = _yaml_fault(error)
    if in_file is not None:
        return in_file
    parsed, faults = _parse(overrides)
    choices, values = _split(parsed, folders)
    if not multirun:
        faults += [_several(word) for word in parsed if word.is_sweep_override()]
    faults += [fault for word in choices for fault in _choice_faults(word, folders)]
    if not faults or values:
        faults += _key_faults(config_name, choices, values, folders)
    if faults:
        return faults[0] if len(faults) == 1 else UserErrors(faults)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _rest(error)
    return None


def _yaml_fault(error: BaseException | None) -> UserError | None:
    import yaml

    while error is not None and not isinstance(error, yaml.MarkedYAMLError):
        error = error.__cause__
    if error is None:
        return None
    mark = error.problem_mark or error.context_mark
    place = "a config file" if mark is None else f"{mark.name}, line {mark.line + 1}"
    said = " ".join(str(word) for word in (error.context, error.problem) if word)
    return UserError(f"{place} is not valid YAML: {said}")


def _parse(overrides: list[str]) -> tuple[list[Override], list[UserError]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed, faults = [], []
    for word in overrides:
        try:
            if word.startswith("="):
                raise HydraException(word)
            parsed.extend(parser.parse_overrides([word]))
        except (HydraException, ValueError) as error:  # a number of more digits than Python reads
            faults.append(_syntax_fault(word, str(error)))
    return parsed, faults


def _syntax_fault(word: str, said: str) -> UserError:
    key, equals, value = word.partition("=")
    if not equals:
        return UserError(f"{word!r} must be KEY=VALUE, but has no '='", f"write {word}=...")
    if not key or key[0] in "=" or not re.fullmatch(r"[~+]{0,2}[\w./@:$\[\]-]+", key):
        return UserError(f"{word!r} must be KEY=VALUE, but {key!r} cannot be a key")
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return UserError(
                f"the value {value!r} of {key} must have as many {opening!r} as {closing!r}",
                f"a value that is text takes quotes: '{key}=\"...\"'",
            )
    reason = said.splitlines()[0].removeprefix("LexerNoViableAltException: ")
    if reason == word or "parsing override" in reason:
        reason = "it has characters that must be quoted"
    return UserError(
        f"the value {value!r} of {key} cannot be read: {reason}",
        f"a value that is text takes quotes: '{key}=\"{value}\"'",
    )


def _split(parsed: list[Override], folders: list[Path]) -> tuple[list[Override], list[Override]]:
    """Choices in a config group, and values of keys."""
    known = set(groups(folders)) | {"hydra/launcher", "hydra/sweeper", "hydra/callbacks"}
    known |= {"hydra/job_logging", "hydra/hydra_logging", "hydra/env", "hydra/output"}
    choices = [word for word in parsed if word.key_or_group in known]
    return choices, [word for word in parsed if word.key_or_group not in known]


def _several(word: Override) -> UserError:
    key, value = word.get_key_element(), str(word.input_line).partition("=")[2]
    return UserError(
        f"{key} must have one value, but is {value}",
        f"add -m for one run each, or write {key}=[{value}] for a list",
    )


def _choice_faults(word: Override, folders: list[Path]) -> Iterator[UserError]:
    from hydra.core.override_parser.types import ChoiceSweep

    group, value = word.key_or_group, word.value()
    options = group_options(folders, group)
    values = value.list if isinstance(value, ChoiceSweep) else value
    if group.startswith("hydra/"):
        for name in values if isinstance(values, list) else [values]:
            if not isinstance(getattr(name, "text", name), (str, type(None))):
                yield UserError(f"{group} must be the name of a config, but is {name!r}")
        return
    for name in values if isinstance(values, list) else [values]:
        name = getattr(name, "text", name)  # a quoted string
        if name is None or str(name) in options:
            continue
        if isinstance(name, dict):
            yield UserError(
                f"{group} must be the name of a config, but is {name}", f"write {group}.KEY=VALUE"
            )
        else:
            yield UserError(f"{group} has no option {str(name)!r}", nearest(str(name), options))


def _key_faults(
    config_name: str, choices: list[Override], values: list[Override], folders: list[Path]
) -> list[UserError]:
    base = _base(config_name, choices, folders)
    if base is None:
        return []
    faults = []
    for word in values:
        key = re.sub(r"\[(\w+)\]", r".\1", word.key_or_group)
        if key.split(".")[0] == "hydra":
            continue
        there = _lookup(base, key)
        if word.is_force_add() or there is None:
            continue
        if word.is_add():
            if there and not isinstance(word.value(), (dict, list)):
                plain = str(word.input_line).lstrip("+")
                faults.append(UserError(f"+{key} adds a key, but {key} exists", f"write {plain}"))
        elif not there:
            faults.append(_unknown_key(base, key, folders))
    return faults


def _base(config_name: str, choices: list[Override], folders: list[Path]) -> dict[str, Any] | None:
    """The config of the choices alone, unresolved; those that do not exist are left out."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    good = [
        str(word.input_line)
        for word in choices
        if not word.is_sweep_override() and not list(_choice_faults(word, folders))
    ]
    try:
        composed = hydra.compose_config(config_name, good, RunMode.RUN)
    except (HydraException, ValueError):
        return None
    plain = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def _lookup(node: Any, key: str) -> bool | None:
    """Whether a dotted key is there; None if an interpolation on the way hides it."""
    for word in key.split("."):
        if isinstance(node, str) and "${" in node:
            return None
        if isinstance(node, list) and word.isdigit() and int(word) < len(node):
            node = node[int(word)]
        elif isinstance(node, dict) and word in node:
            node = node[word]
        else:
            return False
    return True


def _unknown_key(base: dict[str, Any], key: str, folders: list[Path]) -> UserError:
    parent, node = "", base
    for word in key.split("."):
        if not isinstance(node, dict) or word not in node:
            break
        parent, node = (f"{parent}.{word}" if parent else word), node[word]
    if not isinstance(node, dict):
        return UserError(
            f"{key} is not a key of the config: {parent} is a value ({node!r}), and has no keys"
        )
    siblings = [f"{parent}.{name}" if parent else str(name) for name in node]
    if not parent:
        siblings += [name for name in groups(folders) if "/" not in name and name != "hydra"]
    remedy = nearest(key, set(siblings))
    if not parent or not remedy.startswith("did you mean"):
        last = key.split(".")[-1]
        ends = [name for name in _keys(base) if name.split(".")[-1] == last]
        if len(ends) == 1 or (ends and not parent):
            remedy = "did you mean " + " or ".join(repr(name) for name in ends[:3]) + "?"
    return UserError(f"{key} is not a key of the config", remedy)


def _keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        key = f"{prefix}{name}"
        yield key
        if isinstance(value, dict):
            yield from _keys(value, f"{key}.")


def _rest(error: Exception) -> UserError:
    """What is wrong in the config files themselves, or with what they refer to."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    cause: BaseException = error
    while not isinstance(cause, OmegaConfBaseException) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, MissingConfigException):
        name = str(error.missing_cfg_file)
        group, _, option = name.rpartition("/")
        where = re.match(r"In '([^']+)'", str(error))
        asks = f" ({where[1]}.yaml asks for it)" if where else ""
        return UserError(f"there is no config {name!r}{asks}", nearest(option, error.options or []))
    twice = re.match(r"Multiple values for (\S+)\. ", str(error))
    if twice:
        return UserError(f"{twice[1]} is chosen twice", f"write {twice[1]}=NAME once, without a +")
    if isinstance(cause, OmegaConfBaseException):
        said = str(cause).splitlines()[0]
        key = str(cause.full_key or "")
        referred = re.search(r"Interpolation key '([^']+)' not found", said)
        if isinstance(cause, InterpolationKeyError) and referred:
            return UserError(
                f"{key or 'a value'} refers to ${{{referred[1]}}}, which is not a key of the config"
            )
        missing = re.search(r"Missing mandatory value: (\S+)", said)
        if missing:
            return UserError(f"{missing[1]} must be given, but is not", f"add {missing[1]}=...")
        variable = re.search(r"Environment variable '(\w+)' not found", said)
        if variable:
            return UserError(
                f"{key} needs the environment variable {variable[1]}, which is not set"
            )
        return UserError(f"{key}: {said}" if key and key not in said else said)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UserError(" ".join(lines[:2]) or type(error).__name__)
