"""Several processes that share work, each on one core.

Decoding multiplies matrices of a few rows, which two threads share badly: two processes of one
thread each are dealt rows instead. They are forked, so that each has the model, and whatever else
there is, without loading or copying it, and they are fed through pipes.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from heed.errors import RunFailed

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOKAHEAD = 2
"""Items that each process is given before it has done with the first, so that it never waits."""
SECONDS = 5.0  # for a process to end when it is told to


def can_fork() -> bool:
    """Whether processes can be forked here: torch's threads on macOS do not survive it."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


class Workers(Generic[Item, Result]):
    """Processes that compute `function(item)`; a context manager that ends them.

    Args:
        function: What each does. It sees everything as it was when the workers were made.
        count: How many.
    """

    def __init__(self, function: Callable[[Item], Result], count: int) -> None:
        self.function = function
        self.connections: list[Connection] = []
        self.processes: list[BaseProcess] = []
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            ours, theirs = context.Pipe()
            self.connections.append(ours)
            process = context.Process(target=self._serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(self, *failure: object) -> None:
        for connection in self.connections:
            connection.close()  # at which an idle process ends
        for process in self.processes:
            if failure[0] is not None:
                process.terminate()
            process.join(SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """The result of each item, in the order of the items; a few are read ahead.

        Raises:
            RunFailed: If a process was ended from outside.
            Exception: What the function raised, for the first item that it did so.
        """
        stream = enumerate(items)
        left = [LOOKAHEAD] * len(self.connections)
        most = 2 * sum(left)  # read and not given back, should one process be slow
        waiting: deque[int] = deque()  # numbers of the items that are not given back yet
        done: dict[int, tuple[bool, Any]] = {}
        ended = False
        while not ended or waiting:
            while not ended and max(left) > 0 and len(waiting) < most:
                place = left.index(max(left))
                try:
                    number, item = next(stream)
                except StopIteration:
                    ended = True
                    break
                self._send(place, (number, item))
                left[place] -= 1
                waiting.append(number)
            while waiting and waiting[0] in done:
                worked, value = done.pop(waiting.popleft())
                if not worked:
                    raise value
                yield value
            if waiting:
                for place, (number, worked, value) in self._received():
                    done[number] = worked, value
                    left[place] += 1

    def _send(self, place: int, item: Any) -> None:
        try:
            self.connections[place].send(item)
        except (BrokenPipeError, ConnectionResetError):
            raise self._gone(place) from None

    def _received(self) -> Iterator[tuple[int, tuple[int, bool, Any]]]:
        for ready in wait(self.connections):
            place = self.connections.index(ready)  # type: ignore[arg-type]
            try:
                answer = self.connections[place].recv()
            except (EOFError, ConnectionResetError):
                raise self._gone(place) from None
            yield place, answer

    def _gone(self, place: int) -> RunFailed:
        process = self.processes[place]
        process.join(SECONDS)
        code = process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return RunFailed(
            f"one of {len(self.processes)} processes that decode has ended {how}",
            "if memory ran out: workers=1, or smaller batches by data.eval_max_tokens=2048",
            cause="a process ended",
        )

    def _serve(self, connection: Connection) -> None:
        """What a worker does until the other end of its pipe is closed."""
        import torch

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        torch.set_num_threads(1)
        for other in self.connections:  # copies, which would keep pipes open when their owner ends
            other.close()
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                number, item = connection.recv()
                _answer(connection, number, self.function, item)


def _answer(connection: Connection, number: int, function: Callable[[Any], Any], item: Any) -> None:
    try:
        connection.send((number, True, function(item)))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # told to the first process, whatever it is
        note = "In a process that decodes:\n" + traceback.format_exc()
        getattr(error, "add_note", list)(note)  # Python 3.10 has no notes
        try:
            copy.copy(error)  # is made again as it will be over there
            connection.send((number, False, error))
        except Exception:  # one that cannot be sent
            told = RuntimeError(f"{type(error).__name__}: {error}")
            connection.send((number, False, told))
