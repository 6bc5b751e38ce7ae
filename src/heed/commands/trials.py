"""Runs of a search in processes of their own, as the searcher sees them."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed.errors import RunFailed

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GRACE_SECONDS = 30.0  # for a trial that was asked to stop
_START_SECONDS = 300.0
_known: dict[int | None, Trials] = {}  # by threads


@dataclass
class Running:
    """A run in its process.

    Args:
        id: Its number in this command.
        run_dir: Its folder.
        started: When it was begun, on the monotonic clock.
        pid: Its process; None until the server has told.
        code: Its exit code, a signal as a negative number; None while it runs.
        stopping: When it was first asked to stop.
        why: What whoever ran it says of its end, where its record says nothing.
    """

    id: int
    run_dir: Path
    started: float = field(default_factory=time.monotonic)
    pid: int | None = None
    code: int | None = None
    stopping: float | None = None
    why: str = ""


def trials_with(threads: int | None) -> Trials:
    """Where runs with so many threads are started; one server a process is enough."""
    if threads not in _known:
        _known[threads] = Trials(threads)
        atexit.register(_known[threads].close)
    return _known[threads]


class Trials:
    """Starts runs and hears how they end; see `trials_with`.

    Args:
        threads: Of each run, for its mathematics on the CPU; None leaves that to the libraries.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._unread = b""
        self._ready = False
        self._count = 0
        self._running: dict[int, Running] = {}

    def prepare(self) -> None:
        """Start the server, which gets ready while other things are done here."""
        if self._server is not None and self._server.poll() is None:
            return
        ours, theirs = socket.socketpair()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "heed.commands.trial_server", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=self._environment(),
            start_new_session=True,  # Ctrl-C at the terminal comes here alone
        )
        theirs.close()
        ours.setblocking(False)
        self._connection, self._unread, self._ready = ours, b"", False

    def start(self, run_dir: Path, request: dict[str, Any]) -> Running:
        """Have a run trained; see `trial_server.run_trial` for the request."""
        self.prepare()
        end = time.monotonic() + _START_SECONDS
        while not self._ready:
            self._hear()
            if self._server is None or self._server.poll() is not None or time.monotonic() > end:
                raise RunFailed("the process that trials are started from could not be started")
            time.sleep(0.01)
        assert self._connection is not None
        self._count += 1
        running = Running(self._count, run_dir)
        self._running[running.id] = running
        here = {"folder": os.getcwd(), "environment": self._environment(), "id": running.id}
        line = json.dumps({**request, "run_dir": str(run_dir), **here}).encode() + b"\n"
        self._connection.setblocking(True)
        self._connection.sendall(line)
        self._connection.setblocking(False)
        return running

    def _environment(self) -> dict[str, str]:
        if self._threads is None:
            return dict(os.environ)
        return {**os.environ, **{name: str(self._threads) for name in THREADS}}

    def poll(self) -> None:
        """Hear of runs that have ended: their `code` is set."""
        if self._server is None:
            return
        self._hear()
        if self._server.poll() is not None:
            self._hear()
            for running in self._running.values():
                if running.code is None:
                    running.code = -int(signal.SIGKILL)
            self._running.clear()
            self._server = None

    def stop(self, running: Running, signum: int = signal.SIGINT) -> None:
        """Ask a run to save its work and end; one that does not is ended later by `press`."""
        if running.stopping is None:
            running.stopping = time.monotonic()
        self._signal(running, signum, group=False)

    def press(self, running: Running) -> None:
        """End a run that was asked to stop and has had its time."""
        if running.stopping and time.monotonic() > running.stopping + GRACE_SECONDS:
            self.kill(running)

    def kill(self, running: Running) -> None:
        """End a run and its own processes at once."""
        self._signal(running, signal.SIGKILL, group=True)

    def finish(self) -> None:
        """End whatever still runs, and leave the server to the next search of this process."""
        for running in list(self._running.values()):
            self.kill(running)
        end = time.monotonic() + GRACE_SECONDS
        while self._running and time.monotonic() < end:
            self.poll()
            time.sleep(0.01)

    def close(self) -> None:
        """Let go of the server, which ends."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(5.0)
            if self._server.poll() is None:
                self._server.kill()
                self._server.wait()
            self._server = None

    def _signal(self, running: Running, signum: int, *, group: bool) -> None:
        end = time.monotonic() + 5.0
        while running.pid is None and running.code is None and time.monotonic() < end:
            self._hear()
            time.sleep(0.002)
        if running.pid is None or running.code is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(running.pid, signum)
            else:
                os.kill(running.pid, signum)

    def _hear(self) -> None:
        assert self._connection is not None
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while received := self._connection.recv(1 << 16):
                self._unread += received
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("ready"):
                self._ready = True
                continue
            running = self._running.get(message["id"])
            if running is None:
                continue
            if "pid" in message:
                running.pid = message["pid"]
            else:
                running.code = message["code"]
                del self._running[running.id]
