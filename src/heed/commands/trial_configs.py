"""The frozen configs of the trials of a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from heed.commands.compose import Check, Config, freeze, in_house_words
from heed.errors import UserError, UserErrors, raise_together
from heed.sweeps.settings import Settings
from heed.sweeps.space import Params, Space


class TrialConfigs:
    """Makes the frozen config of each trial.

    Args:
        sweeper: Composes.
        fixed: The overrides that all trials share.
        space: What is varied.
        settings: Of the search.
        check: Raises `UserError` for a config that is wrong.
        config_dir: The user's own folder of configs.
    """

    def __init__(
        self,
        sweeper: Any,
        fixed: list[str],
        space: Space,
        settings: Settings,
        check: Check,
        config_dir: Path | None = None,
    ) -> None:
        self._sweeper = sweeper
        self.fixed = fixed
        self.space = space
        self.settings = settings
        self._check = check
        self._config_dir = config_dir

    def words(self, params: Params, seed: int | None) -> list[str]:
        """The overrides of a run, which rerun it when they are typed after `heed train`."""
        seeds = [] if seed is None else [f"seed={seed}"]
        return [*self.fixed, *self.space.words(params), *seeds]

    def make(self, params: Params, seed: int | None, *, prunes: bool) -> Config:
        """The config of a run, checked.

        Args:
            params: The point.
            seed: Of this run; None leaves the config's.
            prunes: Whether the run may be stopped early.

        Raises:
            UserError: If there can be no such run.
        """
        words = self.words(params, seed)
        with in_house_words("train", words, self._config_dir):
            frozen = freeze(self._sweeper.compose(words))
        if prunes:
            callbacks = dict(frozen.get("callbacks") or {})
            callbacks["pruning"] = {
                "_target_": "heed.training.callbacks.pruning.Pruning",
                "monitor": self.settings.objectives[0].name,
            }
            frozen["callbacks"] = callbacks
        if not self.settings.test:
            frozen["trainer"]["limit_test_batches"] = 0
        wandb = (frozen.get("logger") or {}).get("wandb")
        if wandb is not None and wandb.get("group") is None:
            wandb["group"] = self.settings.study_name
        self._check(frozen)
        return frozen

    def check_corners(self) -> Config:
        """Check points that show every choice and every bound, before anything is run.

        A combination of varied values that cannot be is only spoken of, for it is recorded as a
        failed trial when it comes up.

        Returns:
            The config of the first point that is right.

        Raises:
            UserError: With every mistake found.
        """
        first: Config | None = None
        faults: dict[str, UserError] = {}
        for params in self.space.corners():
            try:
                config = self.make(params, None, prunes=self.settings.prunes_runs)
                first = first or config
            except UserError as error:
                where = f" (at {' '.join(self.space.words(params))})"
                for single in error.errors if isinstance(error, UserErrors) else [error]:
                    told = UserError(single.problem + where, single.remedy)
                    faults.setdefault(str(single), told)
        combined = {text for text in faults if sum(axis.key in text for axis in self.space) > 1}
        wrong = [fault for text, fault in faults.items() if first is None or text not in combined]
        raise_together(wrong)
        assert first is not None
        for text in combined:
            print(f"note: trials with such values will fail: {faults[text]}", file=sys.stderr)
        return first
