"""MLflow in a local file, or on a server that may fail without stopping a run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from heed.tracking.tolerant import Tolerant

_ID_FILE = "mlflow_run_id"


class HeedMLFlowLogger(Tolerant, MLFlowLogger):
    """Lightning's MLflow logger with a SQLite store by default.

    A resumed run goes on with its MLflow run: the id lies in `mlflow_run_id` in the run folder.

    Args:
        run_dir: The run folder.
        name: Name of the run.
        experiment: MLflow's experiment.
        store: A database file or an address; None is `mlflow.db` in the run folder.
        tags: Tags of the run.
    """

    tracker = "mlflow"

    def __init__(
        self,
        *,
        run_dir: Path | str,
        name: str,
        experiment: str,
        store: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        self._run_dir = str(run_dir)
        self._id_path = Path(run_dir) / _ID_FILE
        database = store or str(Path(run_dir) / "mlflow.db")
        address = database if ":" in database else f"sqlite:///{Path(database).resolve()}"
        self._known: dict[str, int] = {}  # last step of each metric before a resume
        known = self._id_path.exists()
        super().__init__(
            experiment_name=experiment,
            run_name=name,
            tracking_uri=address,
            tags=dict(tags or {}),
            artifact_location=(Path(run_dir).resolve() / "mlflow_artifacts").as_uri(),
            run_id=self._id_path.read_text(encoding="utf-8").strip() if known else None,
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client, its run begun at the first use; a dummy once MLflow has failed."""
        client = self.attempt("starting a run", self._begin)
        return client if client is not None else DummyExperiment()

    def _begin(self) -> Any:
        begun = self._initialized
        client = MLFlowLogger.experiment.fget(self)  # type: ignore[attr-defined]
        if not begun and self._run_id:
            self._id_path.write_text(f"{self._run_id}\n", encoding="utf-8")
        return client

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return self._run_dir

    @property
    def name(self) -> str:
        """MLflow's experiment."""
        return self._experiment_name

    @property
    def version(self) -> str | None:
        """Id of the MLflow run, once it has begun."""
        return self._run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        new = {name: value for name, value in metrics.items() if not self._is_known(name, step)}
        if new:
            self.attempt("logging metrics", lambda: MLFlowLogger.log_metrics(self, new, step))

    @rank_zero_only
    def place(self, step: int) -> dict[str, int]:
        """How far the curves have got."""
        return {"step": step}

    @rank_zero_only
    def go_to(self, place: dict[str, int] | None) -> None:
        """Find what is there of the time after a place: it will come again, and is kept once."""
        self._known = self.attempt("reading its metrics", self._last_steps) or {}

    def _last_steps(self) -> dict[str, int]:
        """The last step of each metric of the run."""
        client, run_id = self.experiment, self.run_id
        names = client.get_run(run_id).data.metrics
        return {
            name: max(point.step for point in client.get_metric_history(run_id, name))
            for name in names
        }

    def _is_known(self, name: str, step: int | None) -> bool:
        return step is not None and step <= self._known.get(name, -1)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self.attempt("logging the config", lambda: MLFlowLogger.log_hyperparams(self, params))

    @rank_zero_only
    def log_table(
        self, key: str, columns: list[str], data: list[list[str]], step: int | None = None
    ) -> None:
        """Log a table of short texts as a JSON artifact."""
        table = {column: [row[index] for row in data] for index, column in enumerate(columns)}
        name = f"{key}-step={step or 0:06d}.json"
        self.attempt("logging a table", lambda: self.experiment.log_table(self.run_id, table, name))

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Nothing: checkpoints stay in the run folder."""

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Nothing yet: a test may follow the training; `finish` ends the run."""

    @rank_zero_only
    def finish(self, *, succeeded: bool = True) -> str | None:
        """End the MLflow run and say where it is."""
        if not self._initialized:
            return None
        status = "success" if succeeded else "failed"
        self.attempt("finishing", lambda: MLFlowLogger.finalize(self, status))
        self._initialized = False
        return f"mlflow: mlflow ui --backend-store-uri {self._tracking_uri}"
