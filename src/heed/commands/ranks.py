"""The further processes of a run, as the first process sees them.

The first process composes and prepares, and only then are there others: it starts them itself on
its own machine, or, where a launcher (torchrun, srun) has started all alike, calls for those that
wait. Either way they read the frozen config from the run folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from heed.commands.rendezvous import Call, Rendezvous, meet_at
from heed.commands.world import World, enter, leave
from heed.errors import EXIT_FAILED, RunFailed

GRACE_SECONDS = 30.0
FAILURE_SECONDS = 5.0  # until processes whose first one failed notice that it has gone
BEREAVED_SECONDS = 10.0  # after another has died, until the first is ended too if it hangs

_joined: Rendezvous | None = None  # of this process, for all runs of a sweep


def join_world(world: World) -> None:
    """Make this process the first of a launched world, before anything is composed."""
    global _joined
    enter(world)
    _joined = Rendezvous(world)


def dismiss(exit_code: int) -> None:
    """Tell the other processes of a launched world that there are no more runs."""
    global _joined
    if _joined is not None:
        with contextlib.suppress(Exception):  # torchrun may have ended them, and its store
            _joined.dismiss(exit_code)
        _joined = None


class Ranks:
    """The other processes of a distributed run; none for a single device.

    If one of them dies, the run is over: whoever waits for it in a collective operation fails, or
    is ended after `BEREAVED_SECONDS`.

    Args:
        count: How many processes this machine needs in all.
        logs: The folder where each further process writes `rank-N.log`.
        give_up: Called with a reason before this process is ended because another has died.
    """

    def __init__(self, count: int, logs: Path, give_up: Callable[[str], None]) -> None:
        self.count = count
        self.logs = logs
        self.children: list[subprocess.Popen[bytes]] = []
        self._give_up = give_up
        self._ending = threading.Event()

    def __enter__(self) -> Ranks:
        return self

    def start(self, module: str, words: Sequence[str], call: Call | None = None) -> None:
        """Have all processes begin, and make this process rank 0.

        Args:
            module: What further processes of this machine run, with `python -m`.
            words: Its arguments.
            call: What the other processes of a launched world are told instead.
        """
        if _joined is not None and call is not None:
            port = _free_port()
            _joined.post(call._replace(port=port))
            meet_at(port)
        elif self.count > 1:
            self._start_here(module, words)

    def _start_here(self, module: str, words: Sequence[str]) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        world = World(
            rank=0,
            size=self.count,
            local_rank=0,
            local_size=self.count,
            address="127.0.0.1",
            port=_free_port(),
            launcher="environment",
            job="",
            attempt=0,
        )
        for rank in range(1, self.count):
            enter(world._replace(rank=rank, local_rank=rank))
            with (self.logs / f"rank-{rank}.log").open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", module, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.children.append(child)
        enter(world)
        threading.Thread(target=self._watch, name="watch_ranks", daemon=True).start()

    def _watch(self) -> None:
        """End this process if another has died and it does not notice: it may wait for ever."""
        while not self._ending.wait(0.5):
            for rank, child in enumerate(self.children, start=1):
                if child.poll() and not self._ending.wait(BEREAVED_SECONDS):
                    reason = self._describe(rank, child.returncode)
                    print(reason, file=sys.stderr, flush=True)
                    self._give_up(reason)
                    for other in self.children:
                        other.kill()
                    os._exit(EXIT_FAILED)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        failed = kind is not None and issubclass(kind, Exception)
        told = kind is not None and issubclass(kind, RunFailed)  # all has been said by its message
        patience = GRACE_SECONDS if kind is None else FAILURE_SECONDS if failed else 0.0
        for rank, child in enumerate(self.children, start=1):
            code = _ended(child, patience)
            if code != 0 and (failed or kind is None) and not told:
                print(self._describe(rank, code), file=sys.stderr)
        if self.children or _joined is not None:
            from heed.commands.rank import leave_process_group

            leave_process_group()
        if self.children:
            leave()
            self.children = []

    def _describe(self, rank: int, code: int) -> str:
        log = self.logs / f"rank-{rank}.log"
        return f"process {rank} ended with exit code {code}; its log: {log}"


def _ended(child: subprocess.Popen[bytes], patience: float) -> int:
    """The exit code of a process that has so many seconds to end before it is made to."""
    for seconds, stop in ((patience, child.terminate), (GRACE_SECONDS, child.kill)):
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            stop()
    return child.wait()


def fit_to_world(trainer: dict[str, Any], world: World) -> None:
    """Let a launched world decide how many devices and machines a trainer config has."""
    trainer["devices"] = world.local_size
    trainer["num_nodes"] = world.nodes
    if trainer["strategy"] == "auto":
        trainer["strategy"] = "ddp"


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
        free.bind(("", 0))
        return free.getsockname()[1]
