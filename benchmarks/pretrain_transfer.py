"""What pretraining on a data set's own text is worth: SST-2 from scratch and from a masked model.

    python benchmarks/pretrain_transfer.py data=FOLDER [output=FOLDER] [seeds=3] [KEY=VALUE ...]

Trains one masked language model on the 6,920 training sentences (`train_sentences.tsv.gz`, no
labels), and then the same encoder on the labels of the first 1,000, for each seed once from scratch
and once from the masked model's weights, all else the same: tokenizer, rate, steps, order of the
data. Prints the dev accuracies of the best checkpoints, and the margin between the means beside the
standard deviations. Finished runs in `output` are taken as they are, so that the command can be
repeated. Further words go to every `heed train`; those that begin with `pretraining:` or
`training:` only to the one or the other, for instance for a longer pretraining on a GPU:

    trainer=gpu model=small pretraining:data.max_tokens=8192 pretraining:trainer.max_epochs=150
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

SENTENCES = (
    *("data=sst2", "data.source.files.train=train_sentences.tsv.gz", "model=tiny", "logger=csv"),
    "scheduler=linear",
)
PRETRAINING = (
    *("task=masked_lm", "tokenizer.vocabulary_size=6000", "data.max_tokens=2048"),
    *("optimizer.lr=2e-3", "scheduler.warmup_steps=200", "trainer.max_epochs=30"),
)
TRAINING = (
    *("task=sentiment", "tokenizer=file", "data.max_tokens=1024", "optimizer.lr=1e-3"),
    *("scheduler.warmup_steps=30", "trainer.max_epochs=10", "data.limit_examples=1000"),
    "trainer.limit_test_batches=0",
)


def main() -> None:
    """Train what is not there yet, and print."""
    words = [word for word in sys.argv[1:] if ":" not in word.partition("=")[0]]
    own = {
        part: [w.removeprefix(part) for w in sys.argv[1:] if w.startswith(part)]
        for part in ("pretraining:", "training:")
    }
    given = dict(word.split("=", 1) for word in words)
    output = Path(given.pop("output", "outputs/pretrain_transfer"))
    seeds = range(1, 1 + int(given.pop("seeds", 3)))
    words = [f"data.path={given.pop('data')}", *(f"{key}={value}" for key, value in given.items())]
    pretrained = run(output / "pretrained", [*PRETRAINING, *words, *own["pretraining:"], "seed=1"])
    scores = json.loads((pretrained / "run.json").read_text())["metrics"]
    print(f"masked model: perplexity {scores['val/perplexity']:.1f} of dev")
    found: dict[str, list[float]] = {"scratch": [], "pretrained": []}
    for seed in seeds:
        for way, accuracies in found.items():
            more = [f"tokenizer.path={pretrained / 'tokenizer'}", f"seed={seed}"]
            more += [f"model.init_from={pretrained}"] if way == "pretrained" else []
            folder = run(output / f"{way}-{seed}", [*TRAINING, *more, *words, *own["training:"]])
            metrics = json.loads((folder / "run.json").read_text())["metrics"]
            accuracies.append(metrics["val/accuracy"])
    for way, accuracies in found.items():
        shown = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        mean = statistics.mean(accuracies)
        print(f"{way:<11} {shown}  mean {mean:.2f}, standard deviation {spread:.2f}")
    margin = statistics.mean(found["pretrained"]) - statistics.mean(found["scratch"])
    print(f"margin      {margin:.2f}")


def run(root: Path, words: list[str]) -> Path:
    """The folder of a finished run under `root`, trained now if there is none."""
    for record in root.rglob("run.json"):
        if json.loads(record.read_text())["status"] == "done":
            return record.parent
    command = [sys.executable, "-m", "heed", "train", *SENTENCES, *words]
    subprocess.run([*command, f"paths.output_dir={root}"], check=True, stdout=subprocess.DEVNULL)
    return max(root.rglob("run.json"), key=lambda path: path.stat().st_mtime).parent


if __name__ == "__main__":
    main()
