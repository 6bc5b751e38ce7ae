"""How the first process of a launched world tells the others which run to join.

The first process reads the words, composes, checks, makes the run folder and prepares the data.
Then it posts the folder's name, and the others read the frozen config from there. So nothing is
composed, sampled or named twice, and a mistake in the words is said once.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import timedelta
from typing import Any, NamedTuple

from heed.commands.world import World
from heed.errors import EXIT_FAILED

PATIENCE = timedelta(hours=24)  # the first process may have to train a tokenizer first
_POLL = timedelta(seconds=60)
_GOODBYE = timedelta(seconds=10)


class Call(NamedTuple):
    """What the first process says to the others.

    Attributes:
        run_dir: The run to join; None when there is no more.
        checkpoint: Where its training goes on; None begins it.
        port: Where the processes of this run meet, on the first one's machine.
        exit_code: How to end, when there is no more.
    """

    run_dir: str | None
    checkpoint: str | None = None
    port: int = 0
    exit_code: int = 0


class Rendezvous:
    """A numbered series of calls from the first process to all others of a world.

    Args:
        world: The world, which `enter` has told torch about.
    """

    def __init__(self, world: World) -> None:
        import torch.distributed as dist

        store, _, _ = next(dist.rendezvous("env://", world.rank, world.size))
        self._store = dist.PrefixStore(f"heed/{world.attempt}", store)
        self._rank, self._size = world.rank, world.size
        self._count = 0

    def post(self, call: Call) -> None:
        """Say something to all others."""
        self._store.set(f"call-{self._count}", json.dumps(call._asdict()))
        self._count += 1

    def dismiss(self, exit_code: int) -> None:
        """Say that there is no more, and stay until all have heard it: they ask this process."""
        said = self._count
        self.post(Call(None, exit_code=exit_code))
        heard = [f"heard-{said}-{rank}" for rank in range(1, self._size)]
        with contextlib.suppress(Exception):  # somebody has gone, and need not hear it
            self._store.wait(heard, _GOODBYE)

    def wait(self) -> Call:
        """The next call; one to end with a failure if the first process has gone."""
        key, waited = f"call-{self._count}", timedelta(0)
        while waited < PATIENCE:
            try:
                self._store.wait([key], _POLL)
                said: dict[str, Any] = json.loads(self._store.get(key))
                self._store.set(f"heard-{self._count}-{self._rank}", "")
            except Exception as error:
                if not _timed_out(error):
                    break
                waited += _POLL
            else:
                self._count += 1
                return Call(**said)
        return Call(None, exit_code=EXIT_FAILED)


def meet_at(port: int) -> None:
    """Have torch's process group meet at a port of its own.

    The place where the launcher had its processes meet still holds the addresses of earlier
    attempts, and of earlier runs of a sweep.
    """
    os.environ["MASTER_PORT"] = str(port)
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"


def _timed_out(error: Exception) -> bool:
    from torch.distributed import DistStoreError

    return isinstance(error, DistStoreError) and "timeout" in str(error).lower()
