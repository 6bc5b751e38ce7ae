"""A signal in a validation of two processes: both stop in it, and it begins anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import heed
from heed.commands.run_comparison import compare_runs

pytestmark = pytest.mark.faults
# The signal comes in the second batch of the first validation, to these processes.
SIGNAL = """
    import os
    import signal

    from lightning.pytorch.callbacks import Callback


    class Signal(Callback):
        def __init__(self, ranks: list[int]) -> None:
            self.ranks = ranks

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, *more):
            if batch_idx == 1 and trainer.global_rank in self.ranks:
                self.ranks = []
                os.kill(os.getpid(), signal.SIGTERM)

        def on_validation_batch_end(self, trainer, *more):
            with open(f"validated-{trainer.global_rank}", "a") as file:
                file.write("x")
"""


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    source = Path(heed.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "heed", "train", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{source}:{folder}"},
    )


@pytest.mark.parametrize(
    ("strategy", "ranks", "more"),
    [
        ("ddp", [0, 1], ()),
        ("ddp", [1], ("callbacks.ema.decay=0.9",)),
        ("fsdp2", [0, 1], ()),
    ],
)
def test_all_stop_in_it_and_it_begins_anew(tmp_path, words, strategy, ranks, more):
    (tmp_path / "signals.py").write_text(textwrap.dedent(SIGNAL))
    given = [
        *(word for word in words("translation", "validated") if word != "trainer=ddp"),
        *(f"trainer={strategy}", "data.eval_max_tokens=200", "callbacks.trace.enabled=true"),
        *("data.source.validation_size=71", "trainer.max_steps=12", *more),
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = train(tmp_path, *given, f"paths.run_dir={whole}")
    assert done.returncode == 0, done.stdout + done.stderr

    signal = ["+callbacks.signal._target_=signals.Signal", f"+callbacks.signal.ranks={ranks}"]
    stopped = train(tmp_path, *given, f"paths.run_dir={cut}", *signal)
    assert stopped.returncode == 143, stopped.stdout + stopped.stderr
    record = json.loads((cut / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["steps"]) == ("stopped", 5)
    if len(ranks) == 2:
        batches = [(tmp_path / f"validated-{rank}").read_text() for rank in ranks]
        assert batches == ["xx", "xx"]  # of more
    done = train(tmp_path, f"resume={cut}", "callbacks.signal=null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert compare_runs(whole, cut) == []
