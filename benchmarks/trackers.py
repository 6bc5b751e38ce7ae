"""What trackers cost a training: seconds a step with each, against metrics.csv alone.

    python benchmarks/trackers.py --steps 300 --rounds 5

Each arm is a training of the built-in sentiment data in a process of its own, with a line logged at
every step (`trainer.log_every_n_steps=1`, fifty times as often as by default). The arms take turns,
so that what else the machine does falls on all of them; a ratio is of an arm to csv in the same
round. "step" is the median of the logged `train/step_seconds`, "fit" the seconds of the training
phase a step, "whole" all of the command: start, preparation, test, the tracker's end.

Arms without a server are only run where they can be: wandb is offline; "wandb, no server" and
"mlflow, no server" point at a port where nothing listens, "mlflow, silent" at one that takes
connections and never answers. MLflow needs heed-nlp[mlflow].
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from heed.tracking.csv_logger import read_metrics

TRAINING = (
    *("task=sentiment", "trainer=cpu", "trainer.log_every_n_steps=1", "trainer.max_epochs=-1"),
    *("trainer.limit_test_batches=1", "trainer.limit_val_batches=1", "data.max_tokens=512"),
    *("callbacks.progress=null", "trainer.val_check_interval=100000"),
)
STEADY = 20  # steps before this one warm up
HOST = "127.0.0.1"


class Arm(NamedTuple):
    """A way to log.

    Attributes:
        words: Further words of `heed train`.
        variables: Environment variables.
    """

    words: list[str]
    variables: dict[str, str]


class Cost(NamedTuple):
    """What one training took, in seconds."""

    step: float
    fit: float
    whole: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, silent_server() as silent:
        arms = all_arms(refusing_port(), silent)
        train(arms["csv"], Path(folder) / "warm-up", options.steps)
        for number in range(options.rounds):
            # every other round the other way round, so that no arm always follows the same one
            for name in list(arms)[:: -1 if number % 2 else 1]:
                place = Path(folder) / f"{number}-{list(arms).index(name)}"
                costs.setdefault(name, []).append(train(arms[name], place, options.steps))
    table(costs)


def all_arms(refusing: int, silent: int) -> dict[str, Arm]:
    """The ways to log that this machine has."""
    key = {"WANDB_API_KEY": "k" * 40}
    arms = {
        "csv": Arm(["logger=csv"], {}),
        "csv, tensorboard": Arm(["logger=[csv,tensorboard]"], {}),
        "csv, wandb offline": Arm(["logger=[csv,wandb]"], {"WANDB_MODE": "offline"}),
        "csv, wandb, no server": Arm(
            ["logger=[csv,wandb]"], {**key, "WANDB_BASE_URL": f"http://{HOST}:{refusing}"}
        ),
        "csv, wandb, silent": Arm(
            ["logger=[csv,wandb]"], {**key, "WANDB_BASE_URL": f"http://{HOST}:{silent}"}
        ),
    }
    if importlib.util.find_spec("mlflow") is not None:
        arms["csv, mlflow"] = Arm(["logger=[csv,mlflow]"], {})
        for name, port in (("no server", refusing), ("silent", silent)):
            store = f"logger.mlflow.store='http://{HOST}:{port}'"
            arms[f"csv, mlflow, {name}"] = Arm(["logger=[csv,mlflow]", store], {})
    return arms


def train(arm: Arm, folder: Path, steps: int) -> Cost:
    """One training in a process of its own."""
    began = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "heed", "train", *TRAINING, *arm.words),
            *(f"trainer.max_steps={steps}", f"paths.output_dir={folder}"),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, **arm.variables},
    )
    whole = time.perf_counter() - began
    (record,) = folder.rglob("run.json")
    rows = read_metrics(record.parent / "metrics.csv")
    seconds = [float(row["train/step_seconds"]) for row in rows if row.get("train/step_seconds")]
    assert len(seconds) == steps, f"{len(seconds)} of {steps} steps are in metrics.csv"
    fit = json.loads(record.read_text(encoding="utf-8"))["phases"]["training"]
    return Cost(statistics.median(seconds[STEADY:]), fit / steps, whole)


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        yield listening.getsockname()[1]


def refusing_port() -> int:
    """A port where nothing listens."""
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def table(costs: dict[str, list[Cost]]) -> None:
    """Print medians, and the median over rounds of the ratio to csv."""
    print(f"{'':<24}{'step ms':>9}{'ratio':>7}{'fit ms':>9}{'ratio':>7}{'whole s':>9}{'more s':>8}")
    base = costs["csv"]
    for name, found in costs.items():
        pairs = list(zip(found, base, strict=True))
        line = f"{name:<24}"
        for field in ("step", "fit"):
            seconds = statistics.median(getattr(one, field) for one in found)
            ratio = statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)
            line += f"{1000 * seconds:>9.2f}{ratio:>7.3f}"
        more = statistics.median(one.whole - other.whole for one, other in pairs)
        print(f"{line}{statistics.median(one.whole for one in found):>9.1f}{more:>8.1f}")


if __name__ == "__main__":
    main()
