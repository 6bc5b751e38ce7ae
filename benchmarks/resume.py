"""How long a run takes to go on: from the command to the first step, against a new run's.

    python benchmarks/resume.py [--parameters 1e6 1e8] [--rounds 3] [overrides of heed train]

A run of each size is trained for a step; then it is resumed and begun anew in turns. Each process
ends at the start of its first training step. Printed are the medians of the seconds from the start
of the process to there, in wall and CPU time, with the time of `import lightning.pytorch` beside.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNTIL_FIRST_STEP = """
import os, sys
from heed.tasks.base import Task
Task.training_step = lambda *_: os._exit(0)
from heed.cli import main
sys.exit(main(sys.argv[1:]) or 1)
"""
SIZES = {"1M": (104, 2), "100M": (768, 6)}  # width and layers, with the built-in translation


def main() -> None:
    """Print seconds to the first step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of heed train")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.sizes:
            compare(Path(folder), size, asked.rounds, asked.overrides)


def compare(folder: Path, size: str, rounds: int, overrides: list[str]) -> None:
    """Begin and resume in turns."""
    width, layers = SIZES[size]
    words = [
        *("task=translation", f"model.d_model={width}", f"model.d_feed_forward={4 * width}"),
        *("model.n_heads=8", f"model.n_layers={layers}", "trainer.max_epochs=-1", "logger=csv"),
        *("trainer.limit_val_batches=0", "trainer.limit_test_batches=0", "data.max_tokens=500"),
        *overrides,
    ]
    run = folder / size
    first = [*words, "trainer.max_steps=1", f"paths.run_dir={run}"]
    subprocess.run(
        [sys.executable, "-m", "heed", "train", *first], check=True, stdout=subprocess.DEVNULL
    )
    kinds = {
        "import": ["-c", "import lightning.pytorch"],
        "new": ["-c", UNTIL_FIRST_STEP, "train", *words, "trainer.max_steps=2"],
        "resumed": ["-c", UNTIL_FIRST_STEP, "train", f"resume={run}", "trainer.max_steps=2"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name, command in kinds.items():
            more = [f"paths.run_dir={folder / f'{size}-{number}'}"] if name == "new" else []
            times[name].append(seconds([*command, *more]))
    held = (run / "checkpoints" / "last.ckpt").stat().st_size
    print(f"{size}, checkpoint of {held / 1e6:,.0f} MB")
    for name, found in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"  {name:<8} {wall:6.2f} s wall  {cpu:6.2f} s CPU")


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall and CPU time of a Python process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
