"""Which run to go on with, and what may be changed in its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heed.commands.amend import set_value
from heed.commands.run_paths import latest_run
from heed.errors import UserError

# What may differ when a run goes on: how long, where and how it is shown; nothing that was learned.
CHANGEABLE = ("trainer.", "logger.", "callbacks.")


def resume_folder(overrides: list[str]) -> Path | None:
    """The folder that `resume=` names among the words of a command; None if it is not there."""
    values = [word.partition("=")[2] for word in overrides if word.startswith("resume=")]
    if not values or values[-1] in ("", "null"):
        return None
    if values[-1] != "latest":
        return Path(values[-1])
    roots = [w.partition("=")[2] for w in overrides if w.startswith("paths.output_dir=")]
    return latest_run(roots[-1] if roots else "outputs")


def resumed_config(
    config: dict[str, Any], overrides: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """A run's config with the changes that are allowed when it goes on, and those changes.

    Raises:
        UserError: If another key is to be changed, or there is no such key.
    """
    changes = [
        word for word in overrides if not word.startswith(("resume=", "paths.output_dir="))
    ]
    for word in changes:
        if not word.startswith(CHANGEABLE):
            raise UserError(
                f"a run goes on with its own config, in which {word!r} cannot be changed",
                "only trainer.*, logger.* and callbacks.* can; for anything else start a new run",
            )
        set_value(config, word)
    return config, changes
