"""Optuna's samplers and pruners by the names that configs give them."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heed.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Named:
    """One of Optuna's classes.

    Args:
        cls: Its name in `optuna.samplers` or `optuna.pruners`.
        needs: Packages that it needs and Heed does not.
        options: Options that differ from Optuna's own defaults.
        single: Whether it takes one objective only.
    """

    cls: str
    needs: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    single: bool = False


SAMPLERS = {
    "tpe": Named("TPESampler", options=(("constant_liar", True),)),
    "gp": Named("GPSampler", needs=("scipy",)),
    "cmaes": Named("CmaEsSampler", needs=("cmaes",), single=True),
    "random": Named("RandomSampler"),
    "qmc": Named("QMCSampler", needs=("scipy",), options=(("scramble", True),)),
    "nsga2": Named("NSGAIISampler"),
    "grid": Named("RandomSampler"),  # the points are given to it
}
PRUNERS = {
    "median": Named("MedianPruner"),
    "percentile": Named("PercentilePruner", options=(("percentile", 25.0),)),
    "successive_halving": Named("SuccessiveHalvingPruner", options=(("min_resource", 1),)),
    "hyperband": Named("HyperbandPruner"),
    "wilcoxon": Named("WilcoxonPruner", needs=("scipy",)),
}
_SEED_OF_STUDY = ("qmc",)  # a sequence that all trials share
_NOT_OPTIONS = ("self", "seed")


def make_sampler(name: str, options: Mapping[str, Any], *, seed: int, n_trials: int) -> BaseSampler:
    """The sampler of the next trial.

    What it samples depends on the seed, the number of the trials that there are and their results
    alone, so a study that was stopped goes on as if it had not been, and two processes that share
    one do not draw the same points.

    Args:
        name: One of `SAMPLERS`.
        options: Arguments of Optuna's class.
        seed: Of the study.
        n_trials: How many trials there are.
    """
    from optuna import samplers

    drawn = np.random.SeedSequence(seed, spawn_key=(n_trials,)).generate_state(1)[0]
    chosen = seed if name in _SEED_OF_STUDY else int(drawn)
    entry = SAMPLERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some samplers and options are "experimental"
        made: BaseSampler = getattr(samplers, entry.cls)(
            seed=chosen, **{**_defaults(samplers, entry), **options}
        )
    return made


def make_pruner(name: str | None, options: Mapping[str, Any]) -> BasePruner:
    """The pruner of a study; None prunes nothing."""
    from optuna import pruners

    if name is None:
        return pruners.NopPruner()
    entry = PRUNERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: BasePruner = getattr(pruners, entry.cls)(**{**_defaults(pruners, entry), **options})
    return made


def sampler_faults(name: str, options: Mapping[str, Any], n_objectives: int) -> Iterator[UserError]:
    """What is wrong with `sweep.sampler` and `sweep.sampler_options`."""
    from optuna import samplers

    yield from _faults("sampler", name, options, SAMPLERS, samplers, n_objectives)


def pruner_faults(name: str | None, options: Mapping[str, Any]) -> Iterator[UserError]:
    """What is wrong with `sweep.pruner` and `sweep.pruner_options`."""
    from optuna import pruners

    if name is not None:
        yield from _faults("pruner", name, options, PRUNERS, pruners, 1)


def _faults(
    kind: str,
    name: str,
    options: Mapping[str, Any],
    table: Mapping[str, Named],
    module: Any,
    n_objectives: int,
) -> Iterator[UserError]:
    if name not in table:
        rule = f"one of {', '.join(table)}" + (" or null" if kind == "pruner" else "")
        remedy = nearest(str(name), table)
        remedy = remedy if remedy.startswith("did you mean") else ""
        yield UserError(f"sweep.{kind} must be {rule}, but is {name!r}", remedy)
        return
    entry = table[name]
    for package in entry.needs:
        if importlib.util.find_spec(package) is None:
            yield UserError(
                f"sweep.{kind}={name} needs the package {package}, which is not installed",
                "pip install 'heed-nlp[sweeps]'",
            )
            return
    if entry.single and n_objectives > 1:
        yield UserError(
            f"sweep.{kind}={name} takes one objective, but there are {n_objectives}",
            "take tpe, gp or nsga2",
        )
    parameters = inspect.signature(getattr(module, entry.cls)).parameters
    known = [n for n in parameters if n not in _NOT_OPTIONS]
    for option in options:
        if option not in known:
            yield UserError(
                f"sweep.{kind}_options.{option} is no option of sweep.{kind}={name}",
                nearest(str(option), known),
            )


def _defaults(module: Any, entry: Named) -> dict[str, Any]:
    known = inspect.signature(getattr(module, entry.cls)).parameters
    return {name: value for name, value in entry.options if name in known}
