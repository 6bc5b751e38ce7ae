"""Hydra's entry to Heed's search; Hydra takes plugins from this package alone."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Gives what was typed, and a way to compose the config of a trial, to `heed.commands.search`.

    Hydra's task function is the search itself here: an object with `run(words, composer)`.
    """

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Take what Hydra gives a sweeper."""
        self.hydra_context = hydra_context
        self.config = config
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Search; returns the exit code."""
        return self.task_function.run(arguments, self)

    def compose(self, overrides: list[str]) -> DictConfig:
        """The config with these overrides and no others, Hydra's own part in it."""
        return self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
