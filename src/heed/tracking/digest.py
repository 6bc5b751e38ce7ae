"""What lists and comparisons need of a run, read from its folder; a broken folder is one too."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.tracking.config_file import leaves, load_config
from heed.tracking.folder import CONFIG
from heed.tracking.lock import holder_is_gone
from heed.tracking.record import RunRecord

# Figures that are better when smaller, whatever stands before the slash.
LOWER_IS_BETTER = ("loss", "perplexity", "calibration_error", "bits_per_byte")
_NO_FACTS = ("metrics", "config_text", "config")
COSTS = ("seconds", "tokens", "parameters", "steps", "epochs")


@dataclass
class Digest:
    """One run in plain values.

    Attributes:
        folder: The run folder, absolute.
        status: That of the record; "killed" where the process that trained it is gone; "broken"
            where the folder cannot be read, be it of another version.
        fault: Why it is broken, else empty.
        seconds: Time of all phases and sittings; `training_seconds` of training alone.
        started: When it was begun first, in ISO 8601.
        tokens: Real tokens that training has seen.
        metrics: Scores by name, such as "val/accuracy".
        monitor: The score that selects checkpoints; `mode` says "max" or "min".
        test_data: Fingerprint of the test split.
        study: The search that the run is a trial of; `trial` is its number there.
        config_text: The frozen config by dotted key, as JSON; `config` reads it.
    """

    folder: str
    status: str
    fault: str = ""
    task: str = ""
    name: str = ""
    seed: int | None = None
    started: str = ""
    ended: str = ""
    seconds: float | None = None
    training_seconds: float | None = None
    steps: int | None = None
    epochs: int | None = None
    tokens: int | None = None
    parameters: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    monitor: str = ""
    mode: str = "max"
    best_checkpoint: str = ""
    test_data: str = ""
    study: str = ""
    trial: int | None = None
    version: str = ""
    commit: str = ""
    config_text: str = "{}"

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The frozen config by dotted key, such as "optimizer.lr"."""
        found: dict[str, Any] = json.loads(self.config_text)
        return found

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    @property
    def score(self) -> float | None:
        """The value of the monitored score at the best checkpoint."""
        return self.metrics.get(self.monitor)

    @property
    def age_days(self) -> float | None:
        """Days since the run ended or, where it has not, since it was begun."""
        try:
            then = datetime.fromisoformat(self.ended or self.started)
            return round((datetime.now(timezone.utc) - then).total_seconds() / 86_400, 3)
        except (ValueError, TypeError):  # no time, or one without its zone
            return None

    def facts(self) -> dict[str, Any]:
        """Everything but metrics and config, by name."""
        return {name: value for name, value in vars(self).items() if name not in _NO_FACTS}

    def higher_is_better(self, metric: str) -> bool:
        """Whether a larger value of a metric is better: what is monitored tells its mode."""
        if metric in (self.monitor, "score"):
            return self.mode != "min"
        return higher_is_better(metric)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of a metric is better, by its name."""
    return metric.rpartition("/")[2] not in (*LOWER_IS_BETTER, *COSTS)


def read_digest(folder: Path) -> Digest:
    """Read a run folder; what is wrong with it stands in `fault`, and nothing is raised."""
    place = str(folder)
    try:
        record = RunRecord.open(folder)
        config = dict(leaves(load_config(folder / CONFIG)))
    except UserError as error:
        return Digest(place, "broken", str(error).splitlines()[0])
    try:
        return _digest(place, record.fields, config)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return Digest(place, "broken", f"run.json of {folder} has odd values: {error}")


def with_news(digests: Iterable[Digest]) -> None:
    """Say of runs that are recorded as running, but whose process has gone, that it was killed."""
    for digest in digests:
        if digest.status == "running" and holder_is_gone(digest.path):
            digest.status = "killed"


def _digest(folder: str, fields: Mapping[str, Any], config: dict[str, Any]) -> Digest:
    sittings = [*fields["sessions"], fields]
    phases = [sitting.get("phases") or {} for sitting in sittings]
    throughput, data, code = fields["throughput"], fields["data"], fields.get("code") or {}
    trial = fields.get("trial") or {}
    test = data.get("test") if isinstance(data.get("test"), dict) else {}
    figures = {str(name): _number(value) for name, value in fields["metrics"].items()}
    return Digest(
        folder=folder,
        status=fields["status"],
        task=str(fields.get("task") or ""),
        name=str(fields.get("name") or ""),
        seed=fields.get("seed") if isinstance(fields.get("seed"), int) else None,
        started=str(sittings[0].get("started") or ""),
        ended=str(fields.get("ended") or ""),
        seconds=_total(phases) if any(phases) else None,
        training_seconds=_total([{"training": one.get("training", 0.0)} for one in phases]) or None,
        steps=_whole(fields.get("steps")),
        epochs=_whole(fields.get("epochs")),
        tokens=_whole(throughput.get("tokens")),
        parameters=_whole(fields.get("parameters")),
        metrics={name: value for name, value in figures.items() if value is not None},
        monitor=str(config.get("task.monitor") or ""),
        mode=str(config.get("task.mode") or "max"),
        best_checkpoint=str(fields.get("best_checkpoint") or ""),
        test_data=str((test or {}).get("fingerprint") or ""),
        study=str(trial.get("study") or ""),
        trial=_whole(trial.get("number")),
        version=str((fields.get("versions") or {}).get("heed-nlp") or ""),
        commit=str((code.get("heed") or {}).get("commit") or ""),
        config_text=json.dumps(config, default=str),  # a date that somebody wrote by hand
    )


def _total(phases: Iterable[Mapping[str, Any]]) -> float:
    return round(sum(float(seconds) for one in phases for seconds in one.values()), 3)


def _number(value: Any) -> float | None:
    """A recorded figure; the record has "nan" and "inf" as texts."""
    return None if value is None or isinstance(value, bool) else float(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value)


def local_time(stamp: str) -> str:
    """A recorded time as people read it here: "2026-11-24 07:47"; empty without one."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""
