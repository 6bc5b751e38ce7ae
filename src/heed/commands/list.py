"""`heed list`: what can be chosen, each with the first line of its config."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

from heed.commands.arguments import parse_arguments
from heed.commands.compose import config_dirs
from heed.commands.groups import description, group_options, groups, read_yaml
from heed.errors import EXIT_DONE, UserError, nearest

USAGE = """\
usage: heed list [GROUP ...] [--config-dir DIR]

Show the options of each config group, or of some. An option is chosen by GROUP=OPTION.

  heed list
  heed list task data
"""

HIDDEN = ("hydra", "paths")


def main(argv: list[str]) -> int:
    """Run `heed list` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    folders = config_dirs(arguments.config_dir)
    defaults = default_choices(folders)
    known = in_order(groups(folders), list(defaults))
    wanted = [_group(word, known) for word in arguments.overrides] or [
        group for group in known if group.split("/")[0] not in HIDDEN
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for number, group in enumerate(wanted):
        print(("\n" if number else "") + listing(group, folders, defaults.get(group, []), width))
    return EXIT_DONE


def listing(group: str, folders: list[Path], defaults: list[str], width: int) -> str:
    """One group's options with their descriptions; those chosen by default have a star."""
    options = group_options(folders, group)
    names = {name: name + ("*" if name in defaults else "") for name in options}
    column = max([len(name) for name in names.values()], default=0) + 2
    lines = [f"{group}" + ("  (* by default)" if defaults else "")]
    for name, path in options.items():
        lines += textwrap.wrap(
            description(path) or "-",
            width=max(width, column + 30),
            initial_indent=f"  {names[name]:<{column}}",
            subsequent_indent=" " * (column + 2),
        )
    return "\n".join(lines)


def default_choices(folders: list[Path]) -> dict[str, list[str]]:
    """Group -> what `heed train` takes of it, in the order of train.yaml."""
    chosen: dict[str, list[str]] = {}
    for entry in read_yaml(folders[-1] / "train.yaml").get("defaults", []):
        if isinstance(entry, dict):
            for group, option in entry.items():
                options = option if isinstance(option, list) else [option]
                chosen[str(group)] = [str(name) for name in options if name is not None]
    return chosen


def in_order(names: list[str], first: list[str]) -> list[str]:
    """Names in the order of another list; those that are not in it come last."""
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


def _group(word: str, known: list[str]) -> str:
    for name in (word, word.removesuffix("s")):  # `heed list models` is understood
        if name in known:
            return name
    raise UserError(f"there is no config group {word!r}", nearest(word, known))
