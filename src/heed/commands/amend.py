"""A run's frozen config with some keys changed, for evaluating or predicting in another way."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from heed.commands.compose import compose, leaves
from heed.errors import UserError, nearest


def amend(config: dict[str, Any], overrides: list[str], config_dir: Path | None) -> dict[str, Any]:
    """The config with overrides applied: single keys, or whole groups such as `decoding=greedy`.

    A group is composed with the run's other choices; everything else stays as the run froze it.

    Args:
        config: The frozen config of a run; not changed.
        overrides: `key=value` words.
        config_dir: The user's own folder of configs.

    Raises:
        UserError: If there is no such key or choice.
    """
    config = copy.deepcopy(config)
    choices = {name: chosen for name, chosen in config["choices"].items() if chosen is not None}
    groups = [word for word in overrides if word.partition("=")[0] in choices]
    if groups:
        named = {word.partition("=")[0] for word in groups}
        kept = [
            f"{name}={_choice(chosen)}"
            for name, chosen in choices.items()
            if name not in named and name not in ("experiment", "debug")
        ]
        inner = [word for word in overrides if word.partition(".")[0].lstrip("+~") in named]
        composed = compose("train", kept + groups + inner, config_dir)
        for name in named:
            config[name] = composed[name]
            config["choices"][name] = composed["choices"][name]
    for word in overrides:
        if word not in groups:
            set_value(config, word)
    return config


def set_value(config: dict[str, Any], word: str) -> None:
    """Set one `dotted.key=value` of a frozen config in place; the value is read as YAML.

    Raises:
        UserError: If the word is no override, or there is no such key.
    """
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"an override must be key=value, but is {word!r}")
    node = config
    *parents, last = key.split(".")
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None  # type: ignore[assignment]
    if not isinstance(node, dict) or last not in node:
        raise UserError(
            f"{key} is not a key of the run's config",
            nearest(key, [name for name, _ in leaves(config)]),
        )
    try:
        value = yaml.safe_load(text)
        if isinstance(value, str):
            value = float(value)  # YAML 1.1 reads 1e-4 as text
    except (ValueError, yaml.YAMLError):
        value = text
    node[last] = value


def _choice(chosen: Any) -> str:
    return f"[{','.join(map(str, chosen))}]" if isinstance(chosen, list) else str(chosen)
