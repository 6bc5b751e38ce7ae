"""Which run to go on with, and what may be changed in its config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from heed.commands.amend import read_override, set_value
from heed.commands.compose import MAY_BE_LEFT_OUT, compose
from heed.commands.run_paths import latest_run
from heed.errors import UserError

# What may differ when a run goes on: how long, where and how it is shown; nothing that was learned.
CHANGEABLE = (
    *("trainer.", "logger.", "callbacks.", "paths.cache_dir"),
    *("data.eval_max_tokens=", "data.from_cache=", "data.num_workers="),
)
PLACES = ("accelerator", "devices", "strategy", "num_nodes")  # what trainer=NAME may change
_NOT_OF_THE_RUN = ("resume", "paths.output_dir")


def resume_folder(overrides: list[str]) -> Path | None:
    """The folder that `resume=` names among the words of a command; None if it is not there."""
    values = [word.partition("=")[2] for word in overrides if word.startswith("resume=")]
    if not values or values[-1] in ("", "null"):
        return None
    if values[-1] != "latest":
        return Path(os.path.expanduser(values[-1]))
    roots = [w.partition("=")[2] for w in overrides if w.startswith("paths.output_dir=")]
    return latest_run(os.path.expanduser(roots[-1]) if roots else "outputs")


def resumed_config(
    config: dict[str, Any], overrides: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """A run's config with the changes that are allowed when it goes on, and those changes.

    Words that say what the config says already change nothing and are welcome, so that the command
    that began a run can be repeated with `resume=` added.

    Raises:
        UserError: If another key is to be changed, or there is no such key.
    """
    changes = []
    for word in overrides:
        key = word.partition("=")[0]
        if key in _NOT_OF_THE_RUN or _says_the_same(config, word):
            continue
        if key == "trainer":
            _move(config, word)
            changes.append(word)
            continue
        moved = key == "model.init_from" and config.get("adapter")  # it is held against its record
        if not word.startswith(CHANGEABLE) and not moved:
            raise UserError(
                f"a run goes on with its own config, in which {key} cannot be changed, "
                f"but here is {word}",
                "only trainer.*, logger.*, callbacks.*, paths.cache_dir, data.eval_max_tokens, "
                "data.from_cache and data.num_workers can; for anything else start a new run",
            )
        set_value(config, word)
        changes.append(word)
    if config["trainer"].get("auto_batch"):
        raise UserError(
            "a run goes on with the batches that it began with, but here is trainer.auto_batch",
            "leave it out, or start a new run",
        )
    return config, changes


def _move(config: dict[str, Any], word: str) -> None:
    """Go on with other devices or another strategy; how long and how is still the run's own."""
    composed = compose("train", [word])
    for key in PLACES:
        config["trainer"][key] = composed["trainer"][key]
    config["choices"]["trainer"] = composed["choices"]["trainer"]


def _says_the_same(config: dict[str, Any], word: str) -> bool:
    key, value = read_override(word)
    choices = config.get("choices", {})
    if key in choices:
        return bool(choices[key] == value or choices[key] == [value])
    if value is None and key in MAY_BE_LEFT_OUT:
        return True
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return bool(node == value)
