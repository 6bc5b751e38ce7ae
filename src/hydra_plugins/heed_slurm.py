"""Hydra's entry to Heed's Slurm launcher; Hydra takes plugins from this package alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict


class SlurmLauncher(Launcher):
    """Prepares the run folder of every point here, and submits a Slurm job for each.

    Args:
        settings: The keys of configs/hydra/launcher/slurm.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Take what Hydra gives a launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Submit a job for each list of overrides, and wait for them if asked to."""
        from heed.commands.slurm import submit, wait

        assert self.config is not None
        setup_globals()
        run_dirs = [
            self._prepare(list(overrides), number)
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        prepared = [run_dir for run_dir in run_dirs if run_dir]
        folder = Path(self.config.hydra.sweep.dir).absolute()
        jobs = submit(prepared, folder, self.settings) if prepared else []
        for job, run_dir in zip(jobs, prepared, strict=True):
            print(f"job {job.job_id}  {run_dir}", flush=True)
        if self.settings["wait"]:
            wait(jobs, prepared)
        done = JobStatus.COMPLETED  # what became of the runs stands in their records
        return [JobReturn(_return_value=run_dir, status=done) for run_dir in run_dirs]

    def _prepare(self, overrides: list[str], number: int) -> Any:
        """The folder of one run, made by the sweep's own function; None if its config is wrong."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return self.task_function(config)
