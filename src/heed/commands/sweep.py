"""A sweep: one run for each combination of values, by Hydra's sweeper and launcher."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.compose import (
    Check,
    Job,
    compose,
    config_dirs,
    freeze,
    hydra_session,
    in_house_words,
    tidy,
)
from heed.commands.sweep_points import Points
from heed.errors import EXIT_DONE, UserError, UserErrors, raise_together

GRID = ".BasicSweeper"  # Hydra's own, of lists of values
SEARCH = ".OptunaSweeper"  # Hydra's entry to `heed.commands.search`


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
    with _many_runs(config_name, overrides, config_dir) as hydra:
        sweeper = _sweeper(hydra, config_name, overrides)
        if sweeper.endswith(SEARCH):
            return _search(hydra, config_name, overrides, check, config_dir)
        grid = _grid(hydra, overrides) if sweeper.endswith(GRID) else []
        _check_points(hydra, config_name, grid, check)
        points = Points(job, queue, check, len(grid))
        try:
            hydra.multirun(config_name, points, overrides, with_log_configuration=False)
        except BaseException:
            points.summary()  # what was done until the sweep was stopped
            raise
    return points.summary()


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
    with _many_runs(config_name, overrides, config_dir) as hydra:
        sweeper = _sweeper(hydra, config_name, overrides)
        if sweeper.endswith(SEARCH):
            return _search(hydra, config_name, overrides, check, config_dir, job)
        grid = _grid(hydra, overrides) if sweeper.endswith(GRID) else []
        _check_points(hydra, config_name, grid, check)
    if not grid:
        raise UserError("-m needs lists of values here, but a sweeper would choose them")
    for number, point in enumerate(grid, start=1):
        print(f"{chr(10) if number > 1 else ''}[{number}/{len(grid)}] {' '.join(point)}")
        job(compose(config_name, point, config_dir), point)
    return EXIT_DONE


@contextlib.contextmanager
def _many_runs(config_name: str, overrides: list[str], config_dir: Path | None) -> Iterator[Any]:
    """Hydra, with its errors turned into ours."""
    with (
        hydra_session(config_dir) as hydra,
        in_house_words(config_name, overrides, config_dir, True),
    ):
        yield hydra


def _sweeper(hydra: Any, config_name: str, overrides: list[str]) -> str:
    """The class of the sweeper that is chosen; "" for Hydra's own with values in its config."""
    from hydra.types import RunMode

    composed = hydra.compose_config(config_name, overrides, RunMode.MULTIRUN)
    sweeper = composed.hydra.sweeper
    return "" if sweeper.get("params") else str(sweeper.get("_target_", ""))


def _search(
    hydra: Any,
    config_name: str,
    overrides: list[str],
    check: Check,
    config_dir: Path | None,
    visitor: Job | None = None,
) -> int:
    """Search, or show a visitor the config of the first trial; returns the exit code."""
    from heed.commands.search import Search

    search = Search(check, config_dir, visitor)
    return int(hydra.multirun(config_name, search, overrides, with_log_configuration=False))


def _grid(hydra: Any, overrides: list[str]) -> list[list[str]]:
    """The overrides of every run of a sweep over lists of values, in the order they will run.

    Empty where a value is an interval, so that the points are not known beforehand.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

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
