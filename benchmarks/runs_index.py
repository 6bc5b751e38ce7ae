"""How long listing many runs takes: with an empty index, again with a full one, after a change.

    python benchmarks/runs_index.py --runs 10000

Makes run folders as `heed train` leaves them (record and config of a real composed run, each with
its own seed, learning rate and scores), then lists them by `heed runs`, each time in a new process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from heed.commands.compose import compose
from heed.tracking.config_file import save_config
from heed.tracking.record import RunRecord

TASKS = ("translation", "summarization", "sentiment", "qa")


def make_runs(root: Path, count: int) -> None:
    """Write `count` run folders: run.json and config.yaml are real ones with other numbers."""
    draw = random.Random(0)
    texts = {}
    for task in TASKS:
        config = compose("train", [f"task={task}", "seed=123456", "optimizer.lr=0.98765"])
        model = root / ".model" / task
        model.mkdir(parents=True)
        record = RunRecord.create(model, task=task, name="default", seed=123456)
        record.update(
            data={
                split: {"records": 1000, "fingerprint": "f" * 64, "tokens": {"source": 10000}}
                for split in ("train", "validation", "test")
            },
            throughput={"tokens": 1_000_000, "seconds": 100.0, "tokens_per_second": 10_000.0},
            metrics={config["task"]["monitor"]: 0.98765, "test/loss": 1.5, "val/loss": 1.4},
            steps=1000,
            epochs=4,
            parameters=1_000_000,
        )
        record.finish("done")
        save_config(config, model / "config.yaml")
        texts[task] = [(model / name).read_text("utf-8") for name in ("run.json", "config.yaml")]
    for number in range(count):
        task = TASKS[number % len(TASKS)]
        folder = root / task / f"name-{number % 50}" / f"2026-01-01_00-00-{number:05d}"
        folder.mkdir(parents=True)
        seed, lr, score = number % 5, f"{10 ** draw.uniform(-5, -2):.6g}", draw.uniform(40, 60)
        record_text, config_text = texts[task]
        record_text = record_text.replace("123456", str(seed)).replace("0.98765", f"{score:.4f}")
        config_text = config_text.replace("123456", str(seed)).replace("0.98765", lr)
        (folder / "run.json").write_text(record_text, "utf-8")
        (folder / "config.yaml").write_text(config_text, "utf-8")


class Took(NamedTuple):
    """What one `heed runs` took, start of Python included."""

    wall: float
    processor: float
    lines: int


def time_of(words: list[str], cache: Path) -> Took:
    """One `heed runs` in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "heed", "runs", *words],
        env={**os.environ, "HEED_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, processor, len(done.stdout.splitlines()))


def say(case: str, took: list[Took]) -> None:
    """Print the times of one case."""
    walls, processors = ([round(one[place], 2) for one in took] for place in (0, 1))
    said = {"case": case, "seconds": walls, "processor_seconds": processors}
    print(json.dumps({**said, "lines": took[0].lines}), flush=True)


def main() -> None:
    """Print the times as one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    chosen = ["task=sentiment", "optimizer.lr>1e-4", "sort=val/accuracy"]
    with tempfile.TemporaryDirectory() as place:
        root, cache = Path(place) / "outputs", Path(place) / "cache"
        make_runs(root, asked.runs)
        every = [str(root)]
        say("cold: empty index", [time_of(every, cache)])
        cases = {
            "warm": every,
            "warm, filtered by a config value and sorted": [*every, *chosen],
            "warm, as csv": [*every, "format=csv"],
        }
        for case, words in cases.items():
            say(case, [time_of(words, cache) for _ in range(asked.repeat)])
        changed = next((root / TASKS[0]).rglob("run.json"))
        changed.write_text(changed.read_text("utf-8").replace('"done"', '"failed"'), "utf-8")
        say("warm, one run changed", [time_of(every, cache)])


if __name__ == "__main__":
    main()
