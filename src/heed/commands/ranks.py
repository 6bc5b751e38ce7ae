"""The processes of a run on one machine: started once, all on the same frozen config.

The first process composes, prepares the data and then starts the others, which read the config
from the run folder. Nothing is composed, sampled or named twice.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

LOGS = "logs"
GRACE_SECONDS = 30.0
FAILURE_SECONDS = 5.0  # until processes whose first one failed notice that it has gone


class Ranks:
    """The other processes of this machine that a distributed run needs; none for a single device.

    Args:
        config: The frozen config of the run.
        run_dir: Its folder; each process writes `logs/rank-N.log` there.
    """

    def __init__(self, config: dict[str, Any], run_dir: Path) -> None:
        self.run_dir = run_dir
        self.count = processes(config["trainer"])
        self.children: list[subprocess.Popen[bytes]] = []
        self._launched_from_outside = "LOCAL_RANK" in os.environ

    def __enter__(self) -> Ranks:
        return self

    def start(self) -> None:
        """Start ranks 1, 2, ... and make this process rank 0."""
        if self.count < 2 or self._launched_from_outside:
            return
        logs = self.run_dir / LOGS
        logs.mkdir(exist_ok=True)
        os.environ.update(
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(_free_port()),
            WORLD_SIZE=str(self.count),
            NODE_RANK="0",
            LOCAL_RANK="0",
        )
        for rank in range(1, self.count):
            with (logs / f"rank-{rank}.log").open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "heed.commands.rank", os.fspath(self.run_dir)],
                    env={**os.environ, "LOCAL_RANK": str(rank)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.children.append(child)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        patience = GRACE_SECONDS if kind is None else FAILURE_SECONDS if failed else 0.0
        for rank, child in enumerate(self.children, start=1):
            code = _ended(child, patience)
            if code != 0 and (failed or kind is None):
                log = self.run_dir / LOGS / f"rank-{rank}.log"
                print(
                    f"process {rank} ended with exit code {code}; its log: {log}", file=sys.stderr
                )
        if self.children:
            _leave_process_group()
            for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK"):
                os.environ.pop(name, None)
            self.children = []


def _ended(child: subprocess.Popen[bytes], patience: float) -> int:
    """The exit code of a process that has so many seconds to end before it is made to."""
    for seconds, stop in ((patience, child.terminate), (GRACE_SECONDS, child.kill)):
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            stop()
    return child.wait()


def _leave_process_group() -> None:
    """Let the next run of this process, as in a sweep, find processes of its own."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def processes(trainer: dict[str, Any]) -> int:
    """How many processes a trainer config asks for on this machine."""
    if trainer["strategy"] == "auto":
        return 1
    devices = trainer["devices"]
    if devices in ("auto", -1, "-1"):
        import torch

        gpus = torch.cuda.device_count() if trainer["accelerator"] != "cpu" else 0
        return max(1, gpus)
    return len(devices) if isinstance(devices, list) else int(devices)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
