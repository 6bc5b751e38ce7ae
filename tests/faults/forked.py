"""`heed` commands in processes that can be killed, without paying for the imports each time.

A server process imports heed, Lightning and torch once, on one thread, and forks a child for each
command. A child can be told to kill itself (SIGKILL) at a chosen moment, or be killed from outside.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEATH = -signal.SIGKILL


class Forked:
    """A running command.

    Args:
        server: Who forked it.
        pid: Its process.
        log: What it says, stdout and stderr.
    """

    def __init__(self, server: ForkServer, pid: int, log: Path) -> None:
        self.server = server
        self.pid = pid
        self.log = log

    def wait(self) -> int:
        """Its exit code once it has ended; minus the signal that ended it."""
        return self.server._ask({"wait": self.pid})

    def kill(self) -> None:
        """SIGKILL; nothing happens if it has ended."""
        os.kill(self.pid, signal.SIGKILL)  # not reaped before `wait`, so nobody else has its number

    @property
    def has_ended(self) -> bool:
        """Whether it has come to an end, and waits for `wait`."""
        state = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        return state.rpartition(") ")[2].startswith("Z")

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")


class ForkServer:
    """Starts `heed` commands by forking.

    Args:
        folder: For the logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"},
        )

    def start(self, *words: str, kill: tuple[str, int] | None = None) -> Forked:
        """Begin `heed WORDS`.

        Args:
            words: The command.
            kill: At which of `MOMENTS` the process kills itself, and at which time it comes.
        """
        log = self.folder / f"command-{next(self._numbers)}.log"
        return Forked(self, self._ask({"words": words, "log": os.fspath(log), "kill": kill}), log)

    def run(self, *words: str, kill: tuple[str, int] | None = None) -> Forked:
        """Run a command to its end, and see that it ended as was meant."""
        command = self.start(*words, kill=kill)
        code = command.wait()
        assert code == (0 if kill is None else DEATH), (code, kill, command.output)
        return command

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._process.communicate()  # closes its stdin, which is what it waits for


# In the child -------------------------------------------------------------------------------------


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # a signal is not always there at once


def _before(
    owner: Any, name: str, number: int, when: Callable[..., bool] = lambda *_: True
) -> None:
    """Die at the `number`-th call of a function."""
    _wrapped(owner, name, number, when, lambda call: die())


def _after(owner: Any, name: str, number: int, when: Callable[..., bool] = lambda *_: True) -> None:
    """Die when the `number`-th call of a function is done."""

    def act(call: Callable[[], Any]) -> None:
        call()
        die()

    _wrapped(owner, name, number, when, act)


def _wrapped(owner: Any, name: str, number: int, when: Any, act: Any) -> None:
    function, calls = getattr(owner, name), itertools.count(1)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if when(*args) and next(calls) == number:
            act(lambda: function(*args, **kwargs))
        return function(*args, **kwargs)

    setattr(owner, name, wrapper)


def _in_save(number: int) -> None:
    """Die when the `number`-th checkpoint is half written."""
    import torch

    save, calls = torch.save, itertools.count(1)

    def half(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        if next(calls) != number:
            save(content, file, *args, **kwargs)
            return
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        die()

    torch.save = half


def _is_last(*args: Any) -> bool:
    return os.path.basename(os.fspath(args[1])) == "last.ckpt"


def _arm(moment: str, number: int) -> None:
    import heed.training.callbacks.exact_state as exact_state
    from heed.commands import session
    from heed.tasks.base import Task
    from heed.training import checkpoint_io
    from heed.training.callbacks.step_metrics import StepMetrics
    from heed.training.trainer import pl

    writer = checkpoint_io.AtomicCheckpointIO
    MOMENTS: dict[str, Callable[[], None]] = {
        "in a batch": lambda: _before(Task, "training_step", number),
        "after a backward": lambda: _before(Task, "on_before_optimizer_step", number),
        "before a log line": lambda: _before(StepMetrics, "on_train_batch_end", number),
        "in validation": lambda: _before(Task, "validation_step", number),
        "after validation": lambda: _after(Task, "on_validation_epoch_end", number),
        "before a save": lambda: _before(writer, "save_checkpoint", number),
        "in a save": lambda: _in_save(number),
        "before the rename": lambda: _before(os, "replace", number, _is_last),
        "after the rename": lambda: _after(os, "replace", number, _is_last),
        "after a save": lambda: _after(writer, "save_checkpoint", number),
        "in test": lambda: _before(Task, "test_step", number),
        "in reading": lambda: _after(writer, "load_checkpoint", number),
        "in going back": lambda: _after(exact_state, "go_to_places", number),
        "before training": lambda: _before(pl.Trainer, "fit", number),
        "at the end": lambda: _before(session, "closing_summary", number),
    }
    MOMENTS[moment]()


def _child(request: dict[str, Any]) -> None:
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, to in ((0, null), (1, log), (2, log)):
            os.dup2(to, number)
        sys.stdout.reconfigure(line_buffering=True)
        if request["kill"]:
            _arm(*request["kill"])
        from heed.cli import main

        sys.argv = ["heed", *request["words"]]
        code = main(request["words"])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def serve() -> None:
    """Fork a child for each request on stdin; ends with it."""
    import torch

    torch.set_num_threads(1)
    import heed.commands.assemble
    import heed.commands.session
    import heed.commands.train
    import heed.data.module
    import heed.metrics.corpus
    import heed.training.callbacks.checkpoint  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _child(request)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
