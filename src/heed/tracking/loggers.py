"""Builders of the loggers that `logger=` names; each imports its library only when it is used.

Besides its own keys every builder takes three parts that only the run knows: `run_dir`, the run
folder; `run_name`; and `task`, the name of the task.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heed.errors import UserError
from heed.tracking.artifacts import Kind

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


def csv_logger(*, run_dir: Path, run_name: str, task: str) -> Logger:
    """Every logged number in `metrics.csv`."""
    from heed.tracking.csv_logger import CsvLogger

    return CsvLogger(run_dir=run_dir)


def tensorboard_logger(*, run_dir: Path, run_name: str, task: str) -> Logger:
    """Event files in `tensorboard/`.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    _require("tensorboard", "logger=tensorboard", "pip install tensorboard")
    from heed.tracking.tensorboard_logger import HeedTensorBoardLogger

    return HeedTensorBoardLogger(run_dir=run_dir)


def wandb_logger(
    *,
    run_dir: Path,
    run_name: str,
    task: str,
    project: str = "heed",
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    artifacts: list[Kind] | None = None,
) -> Logger:
    """Weights & Biases, offline wherever online cannot be.

    Args:
        run_dir: The run folder.
        run_name: Name of the run.
        task: Name of the task, which becomes a tag.
        project: Project on the server.
        entity: User or team; None for the account's default.
        group: What runs are grouped by, such as a study.
        tags: Further tags.
        notes: A longer description.
        mode: "auto" is online if there is an account and its server answers, else offline.
        artifacts: What of the run folder is kept as artifacts when the run has ended well:
            "predictions", "config", "code" (its changes), "samples", "tokenizer", "checkpoint" (the
            best).

    Raises:
        UserError: If wandb is not installed.
    """
    _require("wandb", "logger=wandb", "pip install wandb")
    from heed.tracking.wandb_logger import HeedWandbLogger

    return HeedWandbLogger(
        run_dir=run_dir,
        name=run_name,
        project=project,
        entity=entity,
        group=group,
        tags=[task, *(tags or [])],
        notes=notes,
        mode=mode,
        artifacts=artifacts or [],
    )


def mlflow_logger(
    *,
    run_dir: Path,
    run_name: str,
    task: str,
    experiment: str = "heed",
    store: str | None = None,
    tags: dict[str, str] | None = None,
    artifacts: list[Kind] | None = None,
) -> Logger:
    """MLflow, by default in a SQLite file beside the runs.

    Args:
        run_dir: The run folder.
        run_name: Name of the run.
        task: Name of the task, which becomes a tag.
        experiment: MLflow's experiment.
        store: A database file, or the address of a server (http://..., sqlite:///..., file:...).
            None is `mlflow.db` in the run folder.
        tags: Further tags.
        artifacts: What of the run folder is kept as artifacts, as for wandb.

    Raises:
        UserError: If mlflow is not installed.
    """
    _require("mlflow", "logger=mlflow", "pip install 'heed-nlp[mlflow]'")
    from heed.tracking.mlflow_logger import HeedMLFlowLogger

    return HeedMLFlowLogger(
        run_dir=run_dir,
        name=run_name,
        experiment=experiment,
        store=store,
        tags={"task": task, **(tags or {})},
        artifacts=artifacts or [],
    )


def finish_loggers(loggers: Iterable[Any], *, succeeded: bool = True) -> list[str]:
    """Close what each logger holds open, so that the next run of the process starts its own.

    Returns:
        Lines for the user, such as how to upload a run that was kept offline.
    """
    lines = []
    for logger in loggers:
        finish = getattr(logger, "finish", None)
        line = finish(succeeded=succeeded) if finish is not None else None
        if line:
            lines.append(line)
    return lines


def _require(package: str, choice: str, remedy: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{choice} needs the package {package}, which is not installed", remedy)
