"""The points of a grid, known before the first of them runs."""

from __future__ import annotations

import itertools
from typing import Any


def grid_points(hydra: Any, config_name: str, overrides: list[str]) -> list[list[str]]:
    """The overrides of every run of a sweep over lists of values, in the order they will run.

    Empty where the points are not known beforehand: another sweeper than Hydra's own picks them,
    or a value is an interval.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if not _grid_sweeper(hydra, config_name, overrides):
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


def _grid_sweeper(hydra: Any, config_name: str, overrides: list[str]) -> bool:
    from hydra.types import RunMode

    composed = hydra.compose_config(config_name, overrides, RunMode.MULTIRUN)
    sweeper = composed.hydra.sweeper
    return str(sweeper.get("_target_", "")).endswith(".BasicSweeper") and not sweeper.get("params")
