"""The words after a verb: a few options, and overrides of the config."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from heed.errors import UserError, nearest

OPTIONS = """\
options:
  -m, --multirun     one run for each combination of values: model=tiny,small seed=1,2,3
  --config-dir DIR   look for configs in DIR too, before Heed's own
  --cfg              print the config and stop (--cfg hydra: Hydra's own part)
  --trust MODULE     let a run folder's config use code of this package (evaluate, predict, resume)
  --traceback        show where an error was raised
  -h, --help         this text"""

_SHOWN = ("job", "hydra", "all")
_NAMES = ("-m", "--multirun", "--config-dir", "--cfg", "--trust", "--traceback", "-h", "--help")


@dataclass
class Arguments:
    """What somebody typed after a verb.

    Args:
        overrides: `key=value` words, in order.
        config_dir: The user's own folder of configs; absolute.
        multirun: Whether commas in values mean one run for each.
        show: The part of the config to print instead of running: "job", "hydra", "all" or None.
        trust: Modules whose code a run folder's config may name.
    """

    overrides: list[str] = field(default_factory=list)
    config_dir: Path | None = None
    multirun: bool = False
    show: str | None = None
    trust: list[str] = field(default_factory=list)


def parse_arguments(argv: list[str], *, usage: str) -> Arguments:
    """Read the words after a verb.

    Args:
        argv: The words.
        usage: What `--help` prints before the list of options.

    Raises:
        UserError: If an option is unknown, lacks its value or names a folder that does not exist.
        SystemExit: With 0, after `--help`.
    """
    arguments = Arguments()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            print(f"{usage.strip()}\n\n{OPTIONS}")
            raise SystemExit(0)
        if word in ("-m", "--multirun"):
            arguments.multirun = True
        elif word == "--config-dir" or word.startswith("--config-dir="):
            arguments.config_dir = _config_dir(word, words)
        elif word == "--cfg" or word.startswith("--cfg="):
            arguments.show = _shown(word, words)
        elif word == "--trust" or word.startswith("--trust="):
            arguments.trust += _trust(word, words)
        elif word.startswith("-"):
            raise UserError(f"{word} is not an option", nearest(word, _NAMES))
        else:
            arguments.overrides.append(word)
    return arguments


def _config_dir(word: str, rest: list[str]) -> Path:
    _, given, value = word.partition("=")
    if not given:
        if not rest:
            raise UserError("--config-dir needs a folder", "write --config-dir FOLDER")
        value = rest.pop(0)
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"--config-dir must be a folder, but {value} "
            + ("is a file" if folder.exists() else "does not exist")
        )
    return folder


def _trust(word: str, rest: list[str]) -> list[str]:
    _, given, value = word.partition("=")
    if not given and rest:
        value = rest.pop(0)
    if not value:
        raise UserError("--trust needs a module", "write --trust PACKAGE or --trust package.module")
    return value.split(",")


def _shown(word: str, rest: list[str]) -> str:
    _, given, value = word.partition("=")
    if not given:
        return rest.pop(0) if rest and rest[0] in _SHOWN else "job"
    if value not in _SHOWN:
        raise UserError(f"--cfg has no part {value!r}", nearest(value, _SHOWN))
    return value
