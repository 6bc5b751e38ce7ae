"""What the words after a verb ask for: the config shown, one job, or a job for every point."""

from __future__ import annotations

from heed.commands.arguments import Arguments
from heed.commands.compose import Check, Job, compose, show
from heed.commands.run_folder import claim_run_folder
from heed.commands.sweep import sweep, visit
from heed.errors import EXIT_DONE, UserError

SWEEPING = ("hydra/launcher=", "hydra/sweeper=", "hydra.launcher.", "hydra.sweeper.")


def launch(
    config_name: str,
    arguments: Arguments,
    job: Job,
    check: Check,
    *,
    new_runs: bool = True,
    queue: Job | None = None,
) -> int:
    """Do what the words after a verb ask for: show the config, run once, or sweep.

    Args:
        config_name: The primary config.
        arguments: The words.
        job: Called with the frozen config (its `paths.run_dir` a new, empty folder) and the
            overrides it was composed from, in this process.
        check: Called with each frozen config before any job starts; raises `UserError`.
        new_runs: Whether each job is a new run with a folder of its own.
        queue: Prepares a new run that is trained elsewhere, for launchers of such jobs.

    Returns:
        The exit code.

    Raises:
        UserError: If the config is wrong, or a launcher or sweeper is chosen for a single run.
    """
    overrides, user = arguments.overrides, arguments.config_dir
    if arguments.show is not None:
        print(show(config_name, overrides, user, arguments.show), end="")
        return EXIT_DONE
    if arguments.multirun:
        if not new_runs:
            return visit(config_name, overrides, job, check=check, config_dir=user)
        return sweep(config_name, overrides, job, queue=queue, check=check, config_dir=user)
    for word in overrides:
        if word.startswith(SWEEPING):
            raise UserError(f"{word} is for sweeps, of one run or more", "add -m")
    frozen = compose(config_name, overrides, user)
    check(frozen)
    if frozen.get("sweep"):
        raise UserError(
            f"sweep={frozen['choices']['sweep']} searches over many runs, but -m is missing",
            "write heed train -m and give a key several values, such as "
            "'optimizer.lr=tag(log, interval(1e-4,1e-2))'",
        )
    if new_runs:
        claim_run_folder(frozen)
    job(frozen, overrides)
    return EXIT_DONE
