"""The runs of a sweep, one after another: what each was given, and what became of it."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.commands.compose import Check, Config, Job, freeze
from heed.commands.run_folder import claim_run_folder
from heed.errors import EXIT_DONE, EXIT_FAILED, RunFailed, UserError
from heed.tracking.config_file import load_config
from heed.tracking.folder import CONFIG
from heed.tracking.record import RunRecord


@dataclass
class Point:
    """One run of a sweep: what sets it apart, and what became of it."""

    overrides: list[str]
    run_dir: str = ""
    status: str = ""  # of a run elsewhere that has not ended
    value: float | None = None
    failure: str = ""
    elsewhere: bool = False

    def look_up(self) -> None:
        """See what became of a run that was trained elsewhere."""
        record = RunRecord.open(Path(self.run_dir))
        status = record.fields["status"]
        if status in ("failed", "interrupted", "stopped"):
            self.failure = record.fields["reason"] or status
        elif status == "done":
            monitor = load_config(record.run_dir / CONFIG)["task"]["monitor"]
            self.value = record.fields["metrics"].get(monitor)
        else:
            self.status = status


class Points:
    """Runs the job of each point, as Hydra's launchers ask for it, and tells how they ended.

    Args:
        job: Trains a run.
        queue: Prepares the folder of a run that a launcher of jobs elsewhere will train.
        check: Refuses a config that is wrong.
        total: How many there will be; 0 where nobody knows.
    """

    def __init__(self, job: Job, queue: Job | None, check: Check, total: int) -> None:
        self.job = job
        self.queue = queue
        self.check = check
        self.total = total
        self.points: list[Point] = []
        self._process = os.getpid()

    def __call__(self, composed: Any) -> float | str | None:
        """What Hydra calls with the config of a point."""
        from hydra.core.hydra_config import HydraConfig

        hydra_part = HydraConfig.get()
        point = Point([str(word) for word in hydra_part.overrides.task])
        self.points.append(point)
        total = f"/{self.total}" if self.total else ""
        print(f"\n[{len(self.points)}{total}] {' '.join(point.overrides)}", flush=True)
        try:
            return self._run(point, _freeze_point(composed, hydra_part), hydra_part)
        except Exception as error:
            if os.getpid() != self._process:
                raise  # a launcher of other processes tells its parent in its own way
            if isinstance(error, (UserError, RunFailed)):
                point.failure = str(error)
            else:
                point.failure = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            return float("nan")

    def _run(self, point: Point, frozen: Config, hydra_part: Any) -> float | str | None:
        self.check(frozen)
        claim_run_folder(frozen)
        point.run_dir = frozen["paths"]["run_dir"]
        if str(hydra_part.launcher._target_).endswith(".SlurmLauncher"):
            assert self.queue is not None, "only a new run can be queued"
            self.queue(frozen, point.overrides)
            point.elsewhere = True
            return point.run_dir
        point.value = self.job(frozen, point.overrides)
        return point.value

    def summary(self) -> int:
        """Print how each point ended, named by what sets it apart; returns the exit code."""
        for point in self.points:
            if point.elsewhere:
                point.look_up()
        failed = [point for point in self.points if point.failure]
        common = set.intersection(*(set(point.overrides) for point in self.points or [Point([])]))
        print(f"\nsweep: {len(self.points)} runs, {len(failed)} failed")
        for number, point in enumerate(self.points, start=1):
            varied = [word for word in point.overrides if word not in common]
            words = " ".join(varied or point.overrides)
            if point.failure:
                print(f"  [{number}] {words}: failed: {point.failure}")
            else:
                status = f" ({point.status})" if point.status else ""
                value = "" if point.value is None else f"{point.value:.6g}  "
                print(f"  [{number}] {words}{status}: {value}{point.run_dir}")
        return EXIT_FAILED if failed else EXIT_DONE


def _freeze_point(composed: Any, hydra_part: Any) -> Config:
    """Freeze a sweep's task config, to which Hydra's own part has to be given back."""
    from omegaconf import open_dict

    with open_dict(composed):
        composed.hydra = {"runtime": {"choices": dict(hydra_part.runtime.choices)}}
    return freeze(composed)
