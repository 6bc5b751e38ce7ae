"""A sweep: one run for each combination of values, by Hydra's sweeper and launcher."""

from __future__ import annotations

import itertools
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.commands.compose import (
    Check,
    Config,
    Job,
    compose,
    config_dirs,
    freeze,
    hydra_session,
    in_house_words,
    tidy,
)
from heed.commands.run_folder import claim_run_folder
from heed.errors import EXIT_DONE, EXIT_FAILED, RunFailed, UserError, UserErrors, raise_together
from heed.tracking.config_file import load_config
from heed.tracking.record import RunRecord

SEARCH = ".OptunaSweeper"  # Hydra's entry to `heed.commands.search`


@dataclass
class Point:
    """One run of a sweep: what sets it apart, and what became of it."""

    overrides: list[str]
    run_dir: str = ""
    value: float | None = None
    failure: str = ""
    elsewhere: bool = False


def sweep(
    config_name: str,
    overrides: list[str],
    job: Job,
    *,
    queue: Job | None = None,
    check: Check,
    config_dir: Path | None = None,
) -> int:
    """Run a job for each point of a sweep, by Hydra's sweeper and launcher.

    A launcher of jobs elsewhere (`hydra/launcher=slurm`) only has the run folders prepared here, by
    `queue`.

    A point whose job fails does not stop the others; a config that is wrong stops the sweep before
    its first job.

    Returns:
        0 if every job ended well, else 1.

    Raises:
        UserError: If the config of any point of a grid is wrong.
    """
    overrides = tidy(overrides, config_dirs(config_dir))
    with (
        hydra_session(config_dir) as hydra,
        in_house_words(config_name, overrides, config_dir, True),
    ):
        if _sweeper(hydra, config_name, overrides).endswith(SEARCH):
            from heed.commands.search import Search

            search = Search(check, config_dir)
            return int(hydra.multirun(config_name, search, overrides, False))
    points: list[Point] = []
    parent = os.getpid()

    def run_point(composed: Any) -> float | str | None:
        from hydra.core.hydra_config import HydraConfig

        hydra_part = HydraConfig.get()
        point = Point([str(word) for word in hydra_part.overrides.task])
        points.append(point)
        total = f"/{len(grid)}" if grid else ""
        print(f"\n[{len(points)}{total}] {' '.join(point.overrides)}", flush=True)
        try:
            frozen = _freeze_point(composed, hydra_part)
            check(frozen)
            claim_run_folder(frozen)
            point.run_dir = frozen["paths"]["run_dir"]
            if str(hydra_part.launcher._target_).endswith(".SlurmLauncher"):
                assert queue is not None, "only a new run can be queued"
                queue(frozen, point.overrides)
                point.elsewhere = True
                return point.run_dir
            point.value = job(frozen, point.overrides)
        except Exception as error:
            if os.getpid() != parent:
                raise  # a launcher of other processes tells its parent in its own way
            if isinstance(error, (UserError, RunFailed)):
                point.failure = str(error)
            else:
                point.failure = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            return float("nan")
        return point.value

    with (
        hydra_session(config_dir) as hydra,
        in_house_words(config_name, overrides, config_dir, True),
    ):
        grid = grid_points(hydra, config_name, overrides)
        _check_points(hydra, config_name, grid, check)
        try:
            hydra.multirun(config_name, run_point, overrides, with_log_configuration=False)
        except BaseException:
            _summary(points)  # what was done until the sweep was stopped
            raise
    return _summary(points)


def visit(
    config_name: str,
    overrides: list[str],
    job: Job,
    *,
    check: Check,
    config_dir: Path | None = None,
) -> int:
    """Call a job with each config of a grid, or one of a search, without anything written.

    Raises:
        UserError: If a config is wrong, or the values are not a grid.
    """
    overrides = tidy(overrides, config_dirs(config_dir))
    with (
        hydra_session(config_dir) as hydra,
        in_house_words(config_name, overrides, config_dir, True),
    ):
        if _sweeper(hydra, config_name, overrides).endswith(SEARCH):
            from heed.commands.search import Search

            return int(
                hydra.multirun(config_name, Search(check, config_dir, job), overrides, False)
            )
        grid = grid_points(hydra, config_name, overrides)
        _check_points(hydra, config_name, grid, check)
    if not grid:
        raise UserError("-m needs lists of values here, but a sweeper would choose them")
    for number, point in enumerate(grid, start=1):
        print(f"{chr(10) if number > 1 else ''}[{number}/{len(grid)}] {' '.join(point)}")
        job(compose(config_name, point, config_dir), point)
    return EXIT_DONE


def _freeze_point(composed: Any, hydra_part: Any) -> Config:
    """Freeze a sweep's task config, to which Hydra's own part has to be given back."""
    from omegaconf import open_dict

    with open_dict(composed):
        composed.hydra = {"runtime": {"choices": dict(hydra_part.runtime.choices)}}
    return freeze(composed)


def _check_points(hydra: Any, config_name: str, grid: list[list[str]], check: Check) -> None:
    """Compose and check every point of a grid, so that a sweep fails before its first run."""
    from hydra.types import RunMode

    errors: list[UserError] = []
    seen: set[str] = set()
    for overrides in grid:
        try:
            check(freeze(hydra.compose_config(config_name, overrides, RunMode.RUN)))
        except UserError as error:
            for single in error.errors if isinstance(error, UserErrors) else [error]:
                if str(single) not in seen:
                    seen.add(str(single))
                    where = f" (at {' '.join(overrides)})"
                    errors.append(UserError(single.problem + where, single.remedy))
    raise_together(errors)


def _look_up(point: Point) -> None:
    """What became of a run that was trained elsewhere."""
    record = RunRecord.open(Path(point.run_dir))
    status = record.fields["status"]
    if status in ("failed", "interrupted", "stopped"):
        point.failure = record.fields["reason"] or status
    elif status == "done":
        monitor = load_config(record.run_dir / "config.yaml")["task"]["monitor"]
        point.value = record.fields["metrics"].get(monitor)
    else:
        point.overrides.append(f"({status})")


def _summary(points: list[Point]) -> int:
    for point in points:
        if point.elsewhere:
            _look_up(point)
    failed = [point for point in points if point.failure]
    print(f"\nsweep: {len(points)} runs, {len(failed)} failed")
    for number, point in enumerate(points, start=1):
        words = " ".join(point.overrides)
        if point.failure:
            print(f"  [{number}] {words}: failed: {point.failure}")
        else:
            value = "" if point.value is None else f"{point.value:.6g}  "
            print(f"  [{number}] {words}: {value}{point.run_dir}")
    return EXIT_FAILED if failed else EXIT_DONE


def grid_points(hydra: Any, config_name: str, overrides: list[str]) -> list[list[str]]:
    """The overrides of every run of a sweep over lists of values, in the order they will run.

    Empty where the points are not known beforehand: another sweeper than Hydra's own picks them,
    or a value is an interval.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if not _sweeper(hydra, config_name, overrides).endswith(".BasicSweeper"):
        return []
    choices: dict[str, list[str]] = {}
    fixed: list[str] = []
    for override in OverridesParser.create(hydra.config_loader).parse_overrides(overrides):
        if override.is_hydra_override():
            fixed.append(str(override.input_line))
            continue
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            return []
    return [fixed + list(point) for point in itertools.product(*choices.values())]


def _sweeper(hydra: Any, config_name: str, overrides: list[str]) -> str:
    """The class of the sweeper that is chosen; "" for Hydra's own with values in its config."""
    from hydra.types import RunMode

    composed = hydra.compose_config(config_name, overrides, RunMode.MULTIRUN)
    sweeper = composed.hydra.sweeper
    return "" if sweeper.get("params") else str(sweeper.get("_target_", ""))
