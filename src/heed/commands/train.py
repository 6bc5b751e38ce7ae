"""`heed train`: compose a config, train, test the best checkpoint, keep everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.launch import launch
from heed.commands.own_runs import remember
from heed.commands.resumable import resumable_checkpoint
from heed.commands.resume import resume_folder, resumed_config
from heed.commands.rules import validate
from heed.commands.run_paths import CONFIG, OVERRIDES, open_run
from heed.commands.summary import print_config
from heed.commands.trained import check_amended
from heed.errors import EXIT_DONE, UserError
from heed.tracking.config_file import save_config
from heed.tracking.record import RunRecord

USAGE = """\
usage: heed train [key=value ...] [-m key=value,value ...]

Train a model and test its best checkpoint. Everything goes into a new run folder.

  heed train                                           learns to translate, offline, in minutes
  heed train task=sentiment data=local data.path=DIR   your own texts (see docs/data.md)
  heed train model=small optimizer.lr=3e-4 seed=1      anything in the config can be set
  heed train resume=latest                             go on with the last run
  heed train --cfg                                     what it would be trained with
"""


def main(argv: list[str]) -> int:
    """Run `heed train` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    folder = resume_folder(arguments.overrides)
    if folder is not None:
        return resume(folder, arguments)
    return launch("train", arguments, start, lambda config: validate(config, arguments.config_dir))


def start(config: dict[str, Any], overrides: list[str]) -> float | None:
    """Begin a new run in its empty folder; returns its best validation score."""
    run_dir = Path(config["paths"]["run_dir"])
    save_config(config, run_dir / CONFIG)
    (run_dir / OVERRIDES).write_text(yaml.safe_dump(list(overrides)), encoding="utf-8")
    record = RunRecord.create(
        run_dir,
        task=config["task"]["name"],
        name=config["name"],
        seed=config["seed"],
        overrides=overrides,
    )
    remember(record, config)
    from heed.commands.session import run_session

    return run_session(config, record)


def resume(folder: Path, arguments: Arguments) -> int:
    """Go on with a run in its own folder, by its own config.

    Raises:
        UserError: If there is no such run or it has no checkpoint, or a change is not allowed.
    """
    if arguments.multirun:
        raise UserError("resume= goes on with one run, and has no -m", "call it for each run")
    record, config = open_run(folder, trust=arguments.trust)
    config, changes = resumed_config(config, arguments.overrides)
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    check_amended(config, arguments.config_dir)
    resumable_checkpoint(record)
    record.begin_session(overrides=changes)
    save_config(config, folder / CONFIG)  # as it is gone on with, for other processes and later
    remember(record, config)
    from heed.commands.session import run_session

    run_session(config, record, resumed=True)
    return EXIT_DONE
