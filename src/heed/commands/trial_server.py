"""The process that trials are forked from: it has imported all that a training needs, once.

Importing takes seconds, a fork milliseconds. The server itself trains nothing, so its threads and
devices are as they were at its start, and whatever happens to a trial (an error, a kill, a hang, no
memory) happens to a process of its own. It ends with the searcher that started it, and so do the
trials.

Started by `heed.commands.trials`; they exchange lines of JSON over a socket.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from heed.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    EXIT_USER,
    RunFailed,
    UserError,
    UserErrors,
)
from heed.training.mailbox import Mailbox

POLL_SECONDS = 0.01
ENDING_SECONDS = 30.0  # from the end of the searcher until a trial that saves its work is ended
STOPPING = (signal.SIGINT, signal.SIGTERM)
ROOMS = (
    *("text", "backbone", "heads", "metrics", "data", "decoding"),
    *("tasks", "training", "tracking"),
)
LIBRARIES = (
    *("lightning.pytorch", "torchmetrics", "datasets", "tokenizers", "sacrebleu", "rouge_score"),
    *("torch.distributed", "torch.utils.data", "torch.utils.tensorboard", "torch._dynamo"),
    *("pyarrow.parquet", "yaml", "rich.console", "rich.table", "tensorboard", "wandb"),
)


class Server:
    """Forks a process for each request, and tells how it ended.

    Args:
        connection: To the searcher.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._pids: dict[int, int] = {}  # process: number of the request
        self._unread = b""

    def serve(self) -> None:
        """Answer requests until the searcher has gone."""
        self._say({"ready": True})
        while True:
            readable, _, _ = select.select([self.connection], [], [], POLL_SECONDS)
            if readable:
                received = self.connection.recv(1 << 20)
                if not received:
                    return
                *lines, self._unread = (self._unread + received).split(b"\n")
                for line in lines:
                    self._begin(json.loads(line))
            self._reap()

    def _begin(self, request: dict[str, Any]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes before the new process can handle it waits until it can.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        pid = os.fork()
        if pid == 0:
            code = EXIT_FAILED
            try:
                self.connection.close()
                code = run_trial(request)
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # as it does itself, whoever comes first
        self._pids[pid] = request["id"]
        self._say({"id": request["id"], "pid": pid})

    def _reap(self) -> None:
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._pids.pop(pid, None)
            if number is not None:
                self._say({"id": number, "code": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")


def run_trial(request: dict[str, Any]) -> int:
    """Train one run in this process, which is its own; returns the exit code.

    Args:
        request: `config`, `overrides` and `trial` of the run, or `resume`, the folder of one to go
            on with; `run_dir`; `log` for what it prints; `folder` and `environment` of the process;
            `argv` for its record; and `slot`, its place among the `jobs` that run at once.
    """
    # Signals at the terminal are the searcher's alone, and a kill takes the run's children along.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end_with_term)
    _print_to(Path(request["log"]))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["argv"]
    end_with_searcher(Path(request["run_dir"]))
    from heed.commands.arguments import Arguments
    from heed.commands.train import resume, start

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        if request["jobs"] > 1:
            use_devices(request["slot"], request["jobs"], request["config"]["trainer"])
        if "resume" in request:
            return resume(Path(request["resume"]), Arguments())
        start(request["config"], request["overrides"], trial=request["trial"])
        return EXIT_DONE
    except UserError as error:
        for single in error.errors if isinstance(error, UserErrors) else [error]:
            print(f"error: {single}", file=sys.stderr)
        return EXIT_USER
    except RunFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseException:
        traceback.print_exc()
    return EXIT_FAILED


def _end_with_term(signum: int, frame: Any) -> None:
    raise SystemExit(EXIT_STOPPED)


def _print_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def use_devices(slot: int, jobs: int, trainer: dict[str, Any]) -> None:
    """Let this process see only the GPUs of its place among the trials that run at once.

    Args:
        slot: Its place, from 0.
        jobs: How many run at once.
        trainer: The trainer's config.

    Raises:
        UserError: If there are fewer GPUs than all of them need.
    """
    import torch

    from heed.commands.ranks import processes

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [str(n) for n in range(torch.cuda.device_count())] if named is None else named.split(",")
    )
    names = [name for name in names if name]
    if trainer["accelerator"] == "cpu" or not names:
        return
    each = processes({**trainer, "devices": 1} if trainer["devices"] == "auto" else trainer)
    if jobs * each > len(names):
        raise UserError(
            f"sweep.jobs={jobs} trials with {each} GPU{'s' * (each > 1)} each need {jobs * each}, "
            f"but there are {len(names)}",
            f"try sweep.jobs={max(1, len(names) // each)}",
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot * each : (slot + 1) * each])


def end_with_searcher(run_dir: Path) -> None:
    """Let no trial stay when server and searcher have gone: stop and save, then end."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        Mailbox(run_dir).close()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ENDING_SECONDS)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end_with_searcher", daemon=True).start()


def preload() -> None:
    """Import what trainings import; what is not installed is left to whoever needs it."""
    names = list(LIBRARIES)
    for room in ROOMS:
        package = importlib.import_module(f"heed.{room}")
        names += [
            module.name for module in pkgutil.walk_packages(package.__path__, f"heed.{room}.")
        ]
    names += ["heed.commands.session", "heed.commands.assemble", "heed.commands.train"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            # An extra that is not there or is broken, which only a run that uses it may fail for.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def main(words: list[str]) -> int:
    """Serve on the socket whose descriptor is the first word."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)  # the searcher decides
    connection = socket.socket(fileno=int(words[0]))
    preload()
    Server(connection).serve()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
