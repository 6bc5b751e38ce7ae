"""A run's frozen config with some keys changed, for evaluating or predicting in another way."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heed.commands.compose import (
    MAY_BE_LEFT_OUT,
    OPEN,
    compose,
    config_dirs,
    in_house_words,
    leaves,
    tidy,
)
from heed.errors import UserError, nearest


def amend(
    config: dict[str, Any],
    overrides: list[str],
    config_dir: Path | None = None,
    *,
    own: Iterable[str] = (),
) -> dict[str, Any]:
    """The config with overrides applied: single keys, or whole groups such as `decoding=greedy`.

    A group is composed with the run's other choices; everything else stays as the run froze it.

    Args:
        config: The frozen config of a run; not changed.
        overrides: `key=value` words in Hydra's grammar.
        config_dir: The user's own folder of configs.
        own: Further keys that a misspelt one may have meant.

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
            if name not in named and name not in MAY_BE_LEFT_OUT
        ]
        inner = [word for word in overrides if word.partition(".")[0] in named]
        composed = compose("train", kept + groups + inner, config_dir, whole=False)
        for name in named:
            config[name] = composed[name]
            config["choices"][name] = composed["choices"].get(name)
        config["links"] = {
            follower: leader
            for links, of_new in ((config.get("links", {}), False), (composed["links"], True))
            for follower, leader in links.items()
            if (follower.partition(".")[0] in named) == of_new
        }
    for word in overrides:
        if word not in groups:
            set_value(config, word, own=own)
    return config


def set_value(config: dict[str, Any], word: str, *, own: Iterable[str] = ()) -> None:
    """Set one `dotted.key=value` of a frozen config in place, and the keys that follow it.

    Mappings whose keys are the user's, such as `data.columns`, take new keys.

    Args:
        config: The config.
        word: The override, in Hydra's grammar.
        own: Further keys that a misspelt one may have meant.

    Raises:
        UserError: If the word is no override, or there is no such key.
    """
    key, value = read_override(word)
    opened = any(key.startswith(f"{name}.") for name in OPEN)
    parent, last = _parent(config, key, make=opened)
    if parent is None or (last not in parent and not opened):
        keys = {name for name, _ in leaves(config) if not name.startswith(("choices.", "links."))}
        remedy = nearest(key, {*keys, *own})
        if not remedy.startswith("did you mean"):
            remedy = "--cfg shows all its keys"
        raise UserError(f"{key} is not a key of the run's config", remedy)
    _set(config, key, value)


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    parent, last = _parent(config, key)
    if parent is None:
        return  # a follower whose group is another now
    parent[last] = value
    for follower, leader in config.get("links", {}).items():
        if leader == key:
            _set(config, follower, value)


def _parent(
    config: dict[str, Any], key: str, *, make: bool = False
) -> tuple[dict[str, Any] | None, str]:
    """The mapping that holds a dotted key (None without one) and the key's last name."""
    *parents, last = key.split(".")
    node: Any = config
    for name in parents:
        if make and isinstance(node, dict) and node.get(name) is None:
            node[name] = {}
        node = node.get(name) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else None), last


def read_override(word: str) -> tuple[str, Any]:
    """The key and the value of a `dotted.key=value`.

    Raises:
        UserError: If the word is something else.
    """
    if "=" not in word:
        raise UserError(f"an override must be key=value, but is {word!r}")
    tidied = tidy([word], config_dirs())
    if not tidied:
        return word.partition("=")[0], None  # experiment=null
    word = tidied[0]
    with in_house_words("train", [word], None):
        from hydra.core.override_parser.overrides_parser import OverridesParser

        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            raise UserError(
                f"{override.get_key_element()} must have one value, but is {word!r}",
                f"write a list as {word.partition('=')[0]}=[{word.partition('=')[2]}]",
            )
        value = override.value()
    return override.get_key_element().lstrip("+~"), value


def _choice(chosen: Any) -> str:
    return f"[{','.join(map(str, chosen))}]" if isinstance(chosen, list) else str(chosen)
