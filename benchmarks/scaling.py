"""Data-parallel training on several processes against one, on the same global batches.

    python benchmarks/scaling.py [--processes 2] [--rounds 3] [--steps 60] [overrides of heed train]

The runs take turns, each process on one thread. Every run trains the same batches of
`data.max_tokens` tokens: a process of several gets its share of each. Printed are the medians of
all logged stretches of ten steps (a run's first left out) in tokens a second, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from heed.tracking.csv_logger import read_metrics

STRETCH = 10  # steps a log line


def main() -> None:
    """Print tokens a second by number of processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--steps", type=int, default=60, help="steps of a run")
    parser.add_argument("overrides", nargs="*", help="of heed train")
    asked = parser.parse_args()
    speeds: dict[int, list[float]] = {1: [], asked.processes: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            for processes, found in speeds.items():
                run = Path(folder) / f"{processes}-{number}"
                found += train(run, processes, asked.steps, asked.overrides)
    one = statistics.median(speeds[1])
    for processes, found in speeds.items():
        median = statistics.median(found)
        print(
            f"{processes} process{'es' if processes > 1 else ''}: {median:,.0f} tokens a second "
            f"({min(found):,.0f} to {max(found):,.0f}, {len(found)} stretches), "
            f"ratio {median / one:.3f}"
        )


def train(run: Path, processes: int, steps: int, overrides: list[str]) -> list[float]:
    """Tokens a second in each stretch of a run but the first."""
    kind = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"]
    subprocess.run(
        [
            *(sys.executable, "-m", "heed", "train", *kind, f"paths.run_dir={run}"),
            *(f"trainer.max_steps={steps}", "trainer.max_epochs=-1", "trainer.limit_val_batches=0"),
            *("trainer.limit_test_batches=0", f"trainer.log_every_n_steps={STRETCH}"),
            *("logger=csv", *overrides),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = read_metrics(run / "metrics.csv")
    return [float(row["train/tokens_per_second"]) for row in rows if row.get("train/loss")][1:]


if __name__ == "__main__":
    main()
