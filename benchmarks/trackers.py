"""What trackers cost a training: the time of a step with each, against metrics.csv alone.

    python benchmarks/trackers.py --rounds 20
    python benchmarks/trackers.py --trainings 3     # and whole trainings, a process each

A step is forward, backward and AdamW of a small Transformer layer, and then a line of ten numbers
that is logged and written: fifty times as often as by default (`trainer.log_every_n_steps=50`).
Blocks of steps with the tracker beside csv and with csv alone take turns in one process, the other
way round in every other round, so that what else the machine does falls on both; the ratio is the
median over rounds of a block's median step to that of csv. "call" is the median time that logging
holds training up, "begin" and "end" how long the tracker takes before the first step and after the
last.

wandb is offline; "no server" is a port where nothing listens, "silent" one that takes connections
and never answers. MLflow needs heed-nlp[mlflow].
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
WARM_UP, BLOCK = 3, 20  # steps of a block
TRAINING = (
    *("task=sentiment", "trainer=cpu", "trainer.log_every_n_steps=1", "trainer.max_epochs=-1"),
    *("trainer.limit_test_batches=1", "trainer.limit_val_batches=1", "data.max_tokens=512"),
    *("callbacks.progress=null", "trainer.val_check_interval=100000", "trainer.max_steps=200"),
)
# What an account of wandb needs, so that it looks for its server.
ACCOUNT = {"WANDB_API_KEY": "k" * 40, "WANDB_ERROR_REPORTING": "false"}


def main() -> None:
    """Print a table, or two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=0, help="whole trainings of each")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        compare_steps(options.arm, options.port, options.rounds)
        return
    print(
        f"{'':<20}{'step ms':>9}{'csv ms':>9}{'ratio':>8}{'call ms':>9}{'begin s':>9}{'end s':>8}"
    )
    with tempfile.TemporaryDirectory() as folder, silent_server() as silent:
        servers = {"no server": refusing_port(), "silent": silent}
        for name in names():  # each in a process of its own: wandb knows one run a process
            port = servers.get(name.partition(", ")[2], 0)
            words = ["--arm", name, "--port", str(port), "--rounds", str(options.rounds)]
            subprocess.run(
                [sys.executable, __file__, *words], check=True, env=environment(name, port)
            )
        if options.trainings:
            compare_trainings(Path(folder), servers, options.trainings)


def names() -> list[str]:
    """The trackers that this machine has."""
    found = ["tensorboard", "wandb", "wandb, no server", "wandb, silent"]
    if importlib.util.find_spec("mlflow") is not None:
        found += ["mlflow", "mlflow, no server", "mlflow, silent"]
    return found


def environment(name: str, port: int) -> dict[str, str]:
    """What wandb is told by its environment: to be offline, or where its server is."""
    if not port:
        return {**os.environ, "WANDB_MODE": "offline"}
    return {**os.environ, **ACCOUNT, "WANDB_BASE_URL": f"http://{HOST}:{port}"}


def compare_steps(name: str, port: int, rounds: int) -> None:
    """Blocks of steps with a tracker beside csv, and with csv alone, in turn; prints a line."""
    make_step = training_step()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        tracker = start(name, port, Path(folder) / "tracker")
        begin = time.perf_counter() - begun
        arms = {"csv": [csv(Path(folder) / "csv")], name: [csv(Path(folder) / "both"), tracker]}
        steps: dict[str, list[float]] = {arm: [] for arm in arms}  # the median of each block
        calls: list[float] = []
        for turn in range(rounds):
            for arm in list(arms)[:: -1 if turn % 2 else 1]:
                whole, held = [], []
                for number in range(turn * (WARM_UP + BLOCK), (turn + 1) * (WARM_UP + BLOCK)):
                    before = time.perf_counter()
                    loss = make_step()
                    worked = time.perf_counter()
                    for logger in arms[arm]:
                        logger.log_metrics(line(loss, number), step=number)
                        logger.save()
                    after = time.perf_counter()
                    whole.append(after - before)
                    held.append(after - worked)
                steps[arm].append(statistics.median(whole[WARM_UP:]))
                calls += held[WARM_UP:] if arm == name else []
        begun = time.perf_counter()
        tracker.finalize("success")
        getattr(tracker, "finish", lambda: None)()
        end = time.perf_counter() - begun
    ratio = statistics.median(a / b for a, b in zip(steps[name], steps["csv"], strict=True))
    alone, both = (1000 * statistics.median(steps[arm]) for arm in arms)
    print(
        f"{name:<20}{both:>9.2f}{alone:>9.2f}{ratio:>8.3f}"
        f"{1000 * statistics.median(calls):>9.3f}{begin:>9.1f}{end:>8.1f}",
        flush=True,
    )


def csv(folder: Path) -> Any:
    """The logger that every arm has."""
    from heed.tracking.loggers import csv_logger

    folder.mkdir()
    return csv_logger(run_dir=folder, run_name="x", task="sentiment")


def start(name: str, port: int, folder: Path) -> Any:
    """A tracker as `logger=` builds it, begun as far as it begins before the first step."""
    from heed.tracking import loggers

    folder.mkdir()
    kind = name.partition(", ")[0]
    parts: dict[str, Any] = {"run_dir": folder, "run_name": "x", "task": "sentiment"}
    if kind == "mlflow":
        parts["store"] = f"http://{HOST}:{port}" if port else str(folder / "mlflow.db")
    tracker: Any = getattr(loggers, f"{kind}_logger")(**parts)
    tracker.log_hyperparams({"seed": 1})
    return tracker


def training_step() -> Callable[[], float]:
    """A function that makes a step of a small model and returns the loss."""
    import torch

    torch.manual_seed(1)
    model = torch.nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randn(16, 32, 128)

    def step() -> float:
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def line(loss: float, number: int) -> dict[str, float]:
    """What a training logs."""
    return {"train/loss": loss, **{f"train/value_{n}": number * n / 7 for n in range(9)}}


def compare_trainings(folder: Path, servers: dict[str, int], rounds: int) -> None:
    """Whole commands, from start to end, in turn."""
    whole: dict[str, list[float]] = {name: [] for name in ["csv", *names()]}
    for turn in range(rounds):
        for number, name in list(enumerate(whole))[:: -1 if turn % 2 else 1]:
            kind, _, server = name.partition(", ")
            port = servers.get(server, 0)
            words = ["logger=csv" if kind == "csv" else f"logger=[csv,{kind}]"]
            if kind == "mlflow" and port:
                words.append(f"logger.mlflow.store='http://{HOST}:{port}'")
            words.append(f"paths.output_dir={folder / f'{turn}-{number}'}")
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "heed", "train", *TRAINING, *words],
                check=True,
                capture_output=True,
                env=environment(name, port),
            )
            whole[name].append(time.perf_counter() - begun)
    print(f"\n{'':<20}{'whole s':>9}{'more s':>8}")
    for name, seconds in whole.items():
        more = [a - b for a, b in zip(seconds, whole["csv"], strict=True)]
        print(f"{name:<20}{statistics.median(seconds):>9.1f}{statistics.median(more):>8.1f}")


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


if __name__ == "__main__":
    main()
