"""MLflow in a local file, or on a server that may fail without stopping or slowing a run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from heed.tracking.artifacts import Kind, artifact_files, lineage
from heed.tracking.background import Background
from heed.tracking.config_file import leaves
from heed.tracking.record import RunRecord
from heed.tracking.tolerant import Tolerant

FINISH_SECONDS = 30.0  # for what is still under way when a run has ended
PLACE_SECONDS = 5.0  # the same when a checkpoint is saved; once, if that is not enough
PACE_SECONDS = 0.5  # between two requests with numbers: those of meanwhile go together
_ID_FILE = "mlflow_run_id"
_CHUNK = 100  # parameters of one request, as many as MLflow takes
_MOST = 1000  # numbers of one request
_LONGEST = 500  # characters of a parameter
# MLflow's own defaults have a server that does not answer asked for many minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_log = logging.getLogger(__name__)


class HeedMLFlowLogger(Tolerant, Logger):
    """MLflow with a SQLite store by default, spoken to by a thread of its own.

    A resumed run goes on with its MLflow run: the id lies in `mlflow_run_id` in the run folder. If
    MLflow fails, one line says so and the run goes on.

    Args:
        run_dir: The run folder.
        name: Name of the run.
        experiment: MLflow's experiment.
        store: A database file or an address; None is `mlflow.db` in the run folder.
        tags: Tags of the run.
        artifacts: What of the run folder is kept as artifacts when the run has ended well.
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
        artifacts: Sequence[Kind] = (),
    ) -> None:
        super().__init__()
        self._run_dir = Path(run_dir)
        self._run_name = name
        self._experiment_name = experiment
        self._tags = dict(tags or {})
        self._artifacts = tuple(artifacts)
        database = store or str(Path(run_dir) / "mlflow.db")
        self._address = database if ":" in database else f"sqlite:///{Path(database).resolve()}"
        self._known: dict[str, int] = {}  # last step of each metric before a resume
        self._client: Any = None
        self._run_id: str | None = None
        self._used = False
        self._background = Background("mlflow")
        self._waiting: deque[Any] = deque()  # numbers that are not written yet
        self._next_write = 0.0
        self._hurry = threading.Event()
        self._keeps_up = True

    @property
    def name(self) -> str:
        """MLflow's experiment."""
        return self._experiment_name

    @property
    def version(self) -> str | None:
        """Id of the MLflow run, once it has begun."""
        return self._run_id

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._run_dir)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client, for code that wants it; waits for it, and is a dummy without one."""
        self._later("starting a run", lambda: None)
        self._drain(FINISH_SECONDS)
        return self._client if self._client is not None and not self.failed else DummyExperiment()

    def _later(self, what: str, action: Callable[[], object]) -> None:
        """Do something in the background, once the MLflow run has begun."""
        self._used = True

        def do() -> None:
            self.attempt("starting a run", self._begin)
            self.attempt(what, action)

        self._background.submit(do)

    def _drain(self, seconds: float) -> bool:
        """Wait for all that is under way, at most so long; whether it is done."""
        self._hurry.set()
        try:
            return self._background.drain(seconds)
        finally:
            self._hurry.clear()

    def _begin(self) -> None:
        if self._run_id is not None and self._client is not None:
            return
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self._address)
        id_path = self._run_dir / _ID_FILE
        if id_path.exists():
            run_id = id_path.read_text(encoding="utf-8").strip()
            client.update_run(run_id, status="RUNNING")
        else:
            experiment = self._experiment_id(client)
            tags = {**self._tags, "mlflow.runName": self._run_name}
            run_id = client.create_run(experiment, tags=tags).info.run_id
            id_path.write_text(f"{run_id}\n", encoding="utf-8")
        self._client, self._run_id = client, run_id

    def _experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None and found.lifecycle_stage != "deleted":
            return str(found.experiment_id)
        place = (self._run_dir.resolve() / "mlflow_artifacts").as_uri()
        return str(client.create_experiment(self._experiment_name, artifact_location=place))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""
        now = int(time.time() * 1000)
        values = {name: float(value) for name, value in metrics.items()}

        self._waiting.append((values, now, step))
        self._later("logging metrics", self._write)

    def _write(self) -> None:
        """Write the numbers that wait, after a moment in which others may join them."""
        from mlflow.entities import Metric

        if not self._waiting:
            return  # they went with earlier ones
        self._hurry.wait(max(0.0, self._next_write - time.monotonic()))
        metrics = []
        while self._waiting:
            values, when, step = self._waiting.popleft()
            metrics += [
                Metric(name, value, when, step or 0)
                for name, value in values.items()
                if not self._is_known(name, step)
            ]
        for first in range(0, len(metrics), _MOST):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + _MOST])
        self._next_write = time.monotonic() + PACE_SECONDS

    @rank_zero_only
    def place(self, step: int) -> dict[str, int]:
        """How far the curves have got, once all of them are written.

        A killed run goes on from here, and only what comes later is logged again.
        """
        if self._used and self._keeps_up and not self.failed:
            self._keeps_up = self._drain(PLACE_SECONDS)
        return {"step": step}

    @rank_zero_only
    def go_to(self, place: dict[str, int] | None) -> None:
        """Find what is there of the time after a place: it will come again, and is kept once."""
        self._later("reading its metrics", self._read_known)

    def _read_known(self) -> None:
        names = self._client.get_run(self._run_id).data.metrics
        self._known = {
            name: max(point.step for point in self._client.get_metric_history(self._run_id, name))
            for name in names
        }

    def _is_known(self, name: str, step: int | None) -> bool:
        return step is not None and step <= self._known.get(name, -1)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Log the config by dotted keys; MLflow keeps what a resumed run began with."""
        values = vars(params) if isinstance(params, Namespace) else params
        flat = {key: str(value)[:_LONGEST] for key, value in leaves(values)}

        def log() -> None:
            from mlflow.entities import Param

            known = self._client.get_run(self._run_id).data.params
            new = [Param(key, value) for key, value in flat.items() if key not in known]
            for first in range(0, len(new), _CHUNK):
                self._client.log_batch(self._run_id, params=new[first : first + _CHUNK])

        self._later("logging the config", log)

    @rank_zero_only
    def log_table(
        self, key: str, columns: list[str], data: list[list[str]], step: int | None = None
    ) -> None:
        """Log a table of short texts as a JSON artifact."""
        table = {column: [row[index] for row in data] for index, column in enumerate(columns)}
        name = f"{key}-step={step or 0:06d}.json"
        self._later("logging a table", lambda: self._client.log_dict(self._run_id, table, name))

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Nothing yet: a test may follow the training; `finish` ends the run."""

    @rank_zero_only
    def finish(self, *, succeeded: bool = True) -> str | None:
        """End the MLflow run and say where it is; waits at most `FINISH_SECONDS` for MLflow."""
        if not self._used or self.failed:
            return None
        if succeeded and self._artifacts:
            self._later("keeping artifacts", self._log_artifacts)
        status = "FINISHED" if succeeded else "FAILED"
        self._later("finishing", lambda: self._client.set_terminated(self._run_id, status))
        if not self._drain(FINISH_SECONDS):
            self.failed = True
            _log.warning(
                "mlflow did not answer within %.0f seconds of the end, and may lack the last "
                "numbers; metrics.csv has everything.",
                FINISH_SECONDS,
            )
        return None if self.failed else f"mlflow: mlflow ui --backend-store-uri {self._address}"

    def _log_artifacts(self) -> None:
        """Give the run its files, and the data that it was trained on as inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        record = RunRecord.open(self._run_dir)
        origin = lineage(record)
        for files in artifact_files(record, self._artifacts).values():
            for file in files:
                place = file.parent.as_posix()
                path = str(record.run_dir / file)
                self._client.log_artifact(self._run_id, path, None if place == "." else place)
        self._client.log_dict(self._run_id, origin, "lineage.json")
        inputs = [
            DatasetInput(
                Dataset(
                    name=f"{record.fields['task']}-{split}",
                    digest=hashlib.sha256(fingerprint.encode()).hexdigest()[:8],
                    source_type="heed",
                    source=json.dumps({"fingerprint": fingerprint}),
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, fingerprint in origin["data"].items()
        ]
        self._client.log_inputs(self._run_id, inputs)
