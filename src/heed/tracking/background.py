"""One thread that does what it is given, in order, so that training never waits for a tracker."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

Action = Callable[[], object]


class Background:
    """Runs actions one after another in a thread of its own.

    The thread begins with the first action, and never keeps the process from ending. Actions must
    not raise.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, action: Action) -> None:
        """Do something when all before it is done; returns at once."""
        self._waiting.put(action)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def drain(self, seconds: float) -> bool:
        """Wait until all that was submitted is done, at most so long; whether it is."""
        if self._thread is None:
            return True
        done = threading.Event()
        self.submit(done.set)
        deadline = time.monotonic() + seconds
        while not done.wait(0.2):  # in short waits, so that Ctrl-C is heard
            if time.monotonic() > deadline:
                return False
        return True

    def _work(self) -> None:
        while True:
            self._waiting.get()()
