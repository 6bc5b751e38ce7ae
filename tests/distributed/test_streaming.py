"""A streamed corpus on two processes: they end together, and go on exactly."""

from __future__ import annotations

import pytest
from tests.distributed.conftest import Run

STREAMED = (
    *("data.streaming=true", "data.shuffle_buffer=60", "trainer.limit_test_batches=0"),
    "data.source.train_size=40",  # each process reads its own many times over
)


@pytest.mark.learning
def test_two_processes_stream_and_go_on_exactly(root, command, words) -> None:
    def train(name: str, steps: int) -> Run:
        asked = [*words("translation", f"streamed-{name}"), *STREAMED]
        done = command("train", *asked, f"trainer.max_steps={steps}")
        assert done.returncode == 0, done.stderr + done.stdout
        (found,) = (root / f"streamed-{name}").rglob("run.json")
        return Run(found.parent, done.stdout + done.stderr)

    whole, stopped = train("whole", 13), train("stopped", 8)
    done = command("train", f"resume={stopped.folder}", "trainer.max_steps=13")
    assert done.returncode == 0, done.stderr + done.stdout

    assert len(whole.column("train/loss")) == 13
    assert stopped.column("train/loss") == whole.column("train/loss")
    assert stopped.column("train/tokens_seen") == whole.column("train/tokens_seen")
