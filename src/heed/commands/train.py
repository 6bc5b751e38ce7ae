"""`heed train`: compose a config, train, test the best checkpoint, keep everything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.compose import compose
from heed.commands.hardware import check_hardware
from heed.commands.in_world import in_world
from heed.commands.launch import launch
from heed.commands.newest_run import note_begun
from heed.commands.own_runs import remember
from heed.commands.ranks import fit_to_world
from heed.commands.resumable import resumable_checkpoint
from heed.commands.resume import resume_folder, resumed_config
from heed.commands.rules import validate
from heed.commands.run_paths import open_run
from heed.commands.summary import print_config
from heed.commands.trained import LEARNED, check_amended, unused_data
from heed.commands.world import World, slurm_job
from heed.errors import EXIT_DONE, UserError
from heed.tracking.config_file import save_config
from heed.tracking.folder import CHECKPOINTS, CONFIG, OVERRIDES
from heed.tracking.jobs import remember_run, run_of_job
from heed.tracking.lock import run_lock
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
    """Run `heed train` with the words after it; returns the exit code.

    Where a launcher has started several processes alike, the first does all this, and the others
    wait for the run that it begins.
    """
    arguments = parse_arguments(argv, usage=USAGE)
    return in_world(lambda world: train(arguments, world))


def train(arguments: Arguments, world: World | None) -> int:
    """Begin a run or a sweep, or go on with a run; returns the exit code."""
    folder = resume_folder(arguments.overrides) or interrupted_run(arguments, world)
    if folder is not None:
        return resume(folder, arguments, world)

    def begin(config: dict[str, Any], overrides: list[str]) -> float | None:
        return start(config, overrides, world)

    def check(config: dict[str, Any]) -> None:
        validate(config, arguments.config_dir)
        check_nodes(config, world)
        if not arguments.multirun:  # the runs of a sweep may be trained elsewhere
            check_hardware(config["trainer"], config["model"])

    return launch("train", arguments, begin, check, queue=queue)


def start(
    config: dict[str, Any],
    overrides: list[str],
    world: World | None = None,
    *,
    trial: dict[str, Any] | None = None,
) -> float | None:
    """Begin a new run in its empty folder; returns its best validation score."""
    run_dir = Path(config["paths"]["run_dir"])
    check_hardware(config["trainer"], config["model"])
    with run_lock(run_dir):
        if world is not None:
            fit_to_world(config["trainer"], world)
        record = write_down(config, overrides, trial=trial)
        job = job_name(world)
        if job:
            remember_run(config["paths"]["output_dir"], job, overrides, run_dir)
        from heed.commands.session import run_session

        return run_session(config, record)


def queue(config: dict[str, Any], overrides: list[str]) -> None:
    """Make all of a new run but its training, which `heed train resume=` does elsewhere."""
    write_down(config, overrides, queued=True)


def write_down(
    config: dict[str, Any],
    overrides: list[str],
    *,
    queued: bool = False,
    lineage: dict[str, Any] | None = None,
    trial: dict[str, Any] | None = None,
) -> RunRecord:
    """Put the frozen config and the record of a new run into its folder."""
    run_dir = Path(config["paths"]["run_dir"])
    save_config(config, run_dir / CONFIG)
    (run_dir / OVERRIDES).write_text(yaml.safe_dump(list(overrides)), encoding="utf-8")
    record = RunRecord.create(
        run_dir,
        task=config["task"]["name"],
        name=config["name"],
        seed=config["seed"],
        overrides=overrides,
        queued=queued,
        lineage=lineage,
        trial=trial,
    )
    remember(record, config)
    note_begun(config["paths"]["output_dir"], run_dir, record.fields["started"])
    return record


def resume(folder: Path, arguments: Arguments, world: World | None = None) -> int:
    """Go on with a run in its own folder, by its own config.

    A run that ended before its first checkpoint begins again, in the same folder.

    Raises:
        UserError: If there is no such run, it is in use, or a change is not allowed.
    """
    if arguments.multirun:
        raise UserError("resume= goes on with one run, and has no -m", "call it for each run")
    record, config = open_run(folder, trust=arguments.trust)
    config, changes = resumed_config(config, arguments.overrides)
    if world is not None:
        fit_to_world(config["trainer"], world)
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    unused = (*LEARNED, *unused_data(record, config, changes))
    check_amended(config, arguments.config_dir, unused=unused)
    check_resumable(config)
    check_nodes(config, world)
    check_hardware(config["trainer"], config["model"])
    with run_lock(folder):
        record = RunRecord.open(folder)  # the last holder of the lock may have written to it
        checkpoint = checkpoint_to_resume(record)
        record.begin_session(overrides=changes)
        save_config(config, folder / CONFIG)  # as it is gone on with, for other processes and later
        remember(record, config)
        from heed.commands.session import run_session

        run_session(config, record, checkpoint=checkpoint, resumed=True)
    return EXIT_DONE


def interrupted_run(arguments: Arguments, world: World | None) -> Path | None:
    """The run that this job was training before its launcher started it again, if any."""
    attempt = world.attempt if world is not None else int(os.environ.get("SLURM_RESTART_COUNT", 0))
    job = job_name(world)
    if not attempt or not job or arguments.multirun or arguments.show:
        return None
    config = compose("train", arguments.overrides, arguments.config_dir)
    folder = run_of_job(config["paths"]["output_dir"], job, arguments.overrides)
    if folder is not None:
        print(f"attempt {attempt + 1} of this job goes on with {folder}", flush=True)
        arguments.overrides = []
    return folder


def job_name(world: World | None) -> str:
    """A name for the job that a cluster or torchrun runs this process for; "" without one."""
    return world.job if world is not None else slurm_job()


def check_nodes(config: dict[str, Any], world: World | None) -> None:
    """Refuse to wait for machines on which nobody starts anything.

    Raises:
        UserError: If there are to be several machines, and no launcher has started this process.
    """
    nodes = config["trainer"].get("num_nodes", 1)
    if world is None and nodes != 1:
        raise UserError(
            f"trainer.num_nodes must be 1 where no launcher starts the processes, but is {nodes}",
            f"torchrun --nnodes={nodes} ... -m heed train or srun heed train says it by itself; "
            "for this machine alone trainer.num_nodes=1",
        )


def check_resumable(config: dict[str, Any]) -> None:
    """Refuse strategies that keep what they need in pickles.

    Raises:
        UserError: If the run is DeepSpeed's.
    """
    strategy = config["trainer"]["strategy"]
    if isinstance(strategy, dict) and strategy["_target_"].endswith(".deepspeed"):
        folder = config["paths"]["run_dir"]
        raise UserError(
            "a run with trainer=deepspeed keeps its weights only, and cannot be gone on with",
            f"start another from them with model.init_from={folder}; trainer=fsdp2 can go on",
        )


def checkpoint_to_resume(record: RunRecord) -> Path | None:
    """The checkpoint that a run goes on from; None where it ended before its first one.

    Raises:
        UserError: If a run that was finished has no checkpoint, or no checkpoint is whole.
    """
    folder, status = record.run_dir / CHECKPOINTS, record.fields["status"]
    if status != "done" and not any(folder.glob("*.ckpt")):
        if status != "queued":
            print("There is no checkpoint yet: the run begins again in its folder.", flush=True)
        return None
    return resumable_checkpoint(record)
