"""What a trial of a search costs beyond its training, in sequence.

    python benchmarks/sweep_overhead.py [trials=12] [KEY=VALUE ...]

Runs a search on the built-in sentiment corpus in a temporary folder, and prints for each trial the
seconds from its beginning to that of the next, how many of them its record calls training, and the
rest: sampling, composing and checking its config, forking its process, data, tokenizer and model
from the caches, checkpoints' folders, and its record. The first trial is left out, since it fills
the caches and waits for the imports. Further words go to `heed train`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from heed.sweeps.study import open_study

WORDS = (
    *("sweep=optuna", "task=sentiment", "sweep.pruner=null", "trainer=cpu", "logger=csv"),
    *("optimizer.lr=tag(log, interval(1e-4,1e-2))", "trainer.max_steps=20"),
    *("data.source.train_size=2000", "trainer.precision=32-true"),
)


def main() -> None:
    """Measure and print."""
    words = sys.argv[1:]
    count = next((int(w.partition("=")[2]) for w in words if w.startswith("trials=")), 12)
    words = [word for word in words if not word.startswith("trials=")]
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "heed", "train", "-m", *WORDS, *words]
        command += [f"sweep.n_trials={count}", f"paths.output_dir={place}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (folder,) = (path.parent for path in Path(place).rglob("study.json"))
        trials = open_study(folder, None, "study").get_trials()
        rests = []
        print("trial  seconds  training  rest")
        for trial, after in zip(trials[1:], trials[2:], strict=False):
            record = json.loads((folder / f"trial-{trial.number:04d}" / "run.json").read_text())
            seconds = (after.datetime_start - trial.datetime_start).total_seconds()
            training = record["phases"]["training"]
            rests.append(seconds - training)
            print(f"{trial.number:5}  {seconds:7.2f}  {training:8.2f}  {rests[-1]:4.2f}")
        phases = record["phases"]
        print(f"rest: median {statistics.median(rests):.2f} s, most {max(rests):.2f} s")
        print(f"of the last trial, in its record: {phases}")


if __name__ == "__main__":
    main()
