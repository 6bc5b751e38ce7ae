"""Run folders without a training: a record and a config with the numbers that a test needs."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heed.tracking.config_file import save_config
from heed.tracking.record import RunRecord

CONFIG: dict[str, Any] = {
    "paths": {"output_dir": "outputs", "run_dir": None},
    "task": {
        "name": "sentiment",
        "kind": "labelled_text",
        "monitor": "val/accuracy",
        "mode": "max",
    },
    "data": {"name": "builtin", "labels": ["negative", "positive"], "source": {"seed": 0}},
    "model": {"d_model": 16, "n_layers": 1, "learning_rate": 0.001},
    "optimizer": {"lr": 0.001, "betas": [0.9, 0.98]},
    "logger": {"csv": {"_target_": "heed.tracking.loggers.csv_logger"}},
    "name": "default",
    "seed": 1,
    "choices": {"task": "sentiment", "data": "builtin", "model": "tiny", "logger": ["csv"]},
    "links": {"optimizer.lr": "model.learning_rate"},
}


def make_run(
    folder: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    status: str = "done",
    predictions: Sequence[Mapping[str, Any]] = (),
    curve: str = "",
    **fields: Any,
) -> Path:
    """Write a run folder.

    Args:
        folder: The run folder.
        changes: Config values by dotted key.
        metrics: Scores by name.
        status: How the run ended.
        predictions: Rows of predictions/test.jsonl.
        curve: Content of metrics.csv.
        fields: Further fields of the record.
    """
    config = json.loads(json.dumps(CONFIG))
    for key, value in (changes or {}).items():
        node = config
        *above, last = key.split(".")
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    folder.mkdir(parents=True)
    record = RunRecord(folder, json.loads(_record()))
    record.fields |= {"task": config["task"]["name"], "name": config["name"]}
    record.fields |= {"seed": config["seed"], "metrics": dict(metrics or {}), "steps": 10}
    record.fields |= {"status": status, **fields}
    record.save()
    save_config(config, folder / "config.yaml")
    if predictions:
        (folder / "predictions").mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in predictions)
        (folder / "predictions" / "test.jsonl").write_text(lines, "utf-8")
    if curve:
        (folder / "metrics.csv").write_text(curve, "utf-8")
    return folder


@functools.lru_cache(maxsize=1)
def _record() -> str:
    """A record as a run begins it; looking at the machine and the code takes a while."""
    with tempfile.TemporaryDirectory() as folder:
        RunRecord.create(folder, task="", name="", seed=0, command=["heed"])
        return (Path(folder) / "run.json").read_text("utf-8")
