"""JoeyNMT as a lane: a process of its own interpreter that is told over a pipe to make steps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from harness.corpus import Pairs
from harness.settings import Settings
from harness.turns import Turn

WORKER = Path(__file__).with_name("joeynmt_worker.py")


class ProcessLane:
    """Like `harness.turns.Lane`, of another process.

    Args:
        name: Of the arm.
        command: Starts it; it says a line when it is ready, and a line of JSON after each turn.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def turn(self, steps: int) -> Turn:
        """Let it make so many steps."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        found = self._answer()
        return Turn(found["wall"], found["cpu"], found["tokens"], steps)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{self.name} has ended with {self._process.wait()}")


def joeynmt_lane(
    name: str,
    model: dict[str, Any],
    vocabulary: int,
    pad: int,
    batches: list[Pairs],
    ends: tuple[int, int],
    asked: Settings,
) -> ProcessLane:
    """JoeyNMT's model and training step on the batches of the other peers, in fp32."""
    folder = asked.work / "joeynmt"
    folder.mkdir(exist_ok=True)
    arrays = {
        f"{side}{number}": ids.numpy()
        for number, batch in enumerate(batches)
        for side, ids in (("source", batch.source), ("target", batch.target))
    }
    np.savez(folder / "batches.npz", **arrays)
    sizes = ("d_model", "n_heads", "n_layers", "d_feed_forward", "dropout", "norm_position")
    facts: dict[str, Any] = {key: model[key] for key in sizes}
    facts |= {"vocabulary": vocabulary, "pad": pad, "bos": ends[0], "eos": ends[1]}
    facts["tokens"] = [batch.real_tokens for batch in batches]
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return ProcessLane(name, [str(asked.peers["joeynmt"]), str(WORKER), str(folder)])
