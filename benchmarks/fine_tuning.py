"""Fine-tuning on SST-2 beside the Trainer of transformers: dev accuracy and wall time.

    python benchmarks/fine_tuning.py MODEL SST2 [--epochs 1] [--seeds 1] [--precision 32]
                                     [--cores 2] [--together] [--limit N] [--json FILE]

MODEL is a folder with a BERT checkpoint, SST2 one with train.tsv.gz and dev.tsv.gz. Both arms start
from the same weights and take the same rows, batch size (32), learning rate (5e-5, linear with 10%
warm-up), optimizer and dropout, each in a process of its own on `--cores` cores, one after the
other; or with `--together` at the same time on cores of their own (Linux). Times are of the whole
process: start, tokenising, training, and scoring the dev split at the end of each epoch.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH, RATE, WARMUP, LONGEST = 32, 5e-5, 0.1, 128
ARMS = ("transformers", "heed")


def read_rows(path: Path, limit: int | None) -> tuple[list[str], list[int]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:limit]
    return [row["sentence"] for row in rows], [int(row["label"]) for row in rows]


def train_peer(arguments: argparse.Namespace, seed: int, folder: Path) -> None:
    """The peer's arm: transformers' Trainer as its documentation has it."""
    import torch
    from torch.utils.data import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    torch.set_num_threads(arguments.cores)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)

    class Rows(Dataset[Any]):
        def __init__(self, file: str, limit: int | None) -> None:
            texts, self.labels = read_rows(arguments.data / file, limit)
            self.encoded = tokenizer(texts, truncation=True, max_length=LONGEST)

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = {name: column[index] for name, column in self.encoded.items()}
            return {**row, "labels": self.labels[index]}

    def accuracy(scored: Any) -> dict[str, float]:
        return {"accuracy": float((scored.predictions.argmax(-1) == scored.label_ids).mean())}

    train, dev = Rows("train.tsv.gz", arguments.limit), Rows("dev.tsv.gz", None)
    steps = -(-len(train) // BATCH) * arguments.epochs
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=2),
        args=TrainingArguments(
            output_dir=str(folder / "peer"),
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=128,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=round(WARMUP * steps),
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=500,
            bf16=arguments.precision == "bf16",
            use_cpu=not torch.cuda.is_available() or arguments.cpu,
            seed=seed,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=train,
        eval_dataset=dev,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    trainer.train()
    scores = [row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row]
    (folder / "scores.json").write_text(json.dumps(scores))


def command(arm: str, arguments: argparse.Namespace, seed: int, folder: Path) -> list[str]:
    if arm == "transformers":
        own = [sys.executable, __file__, str(arguments.model), str(arguments.data), "--arm", arm]
        own += ["--seed", str(seed), "--folder", str(folder), "--cores", str(arguments.cores)]
        own += ["--epochs", str(arguments.epochs), "--precision", arguments.precision]
        own += [f"--limit={arguments.limit}"] if arguments.limit else []
        return own if arguments.cpu else [*own, "--gpu"]
    limit = [f"data.limit_examples={arguments.limit}"] if arguments.limit else []
    return [
        *(sys.executable, "-m", "heed", "train", "task=sentiment", "model=pretrained"),
        *(f"model.pretrained={arguments.model}", "data=sst2", f"data.path={arguments.data}"),
        *(f"data.batch_size={BATCH}", "data.max_tokens=null", f"optimizer.lr={RATE}"),
        *("optimizer.betas=[0.9,0.999]", "optimizer.eps=1e-8", "optimizer.weight_decay=0.0"),
        *(f"scheduler.warmup_ratio={WARMUP}", f"task.preparation.max_length={LONGEST}"),
        *(f"trainer.max_epochs={arguments.epochs}", "trainer.limit_test_batches=0"),
        f"trainer.precision={'bf16-mixed' if arguments.precision == 'bf16' else '32-true'}",
        *(f"trainer={'cpu' if arguments.cpu else 'auto'}", f"seed={seed}", "logger=csv", *limit),
        *(f"paths.output_dir={folder}", f"paths.cache_dir={folder / 'cache'}"),
    ]


def scores_of(arm: str, folder: Path) -> list[float]:
    """Dev accuracy after each epoch."""
    if arm == "transformers":
        found: list[float] = json.loads((folder / "scores.json").read_text())
        return found
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(row["val/accuracy"]) / 100 for row in rows if row.get("val/accuracy")]


def start(arm: str, arguments: argparse.Namespace, seed: int, place: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"fine-tuning-{arm}-", dir=arguments.work))
    words = command(arm, arguments, seed, folder)
    if arguments.together:
        first = place * arguments.cores
        words = ["taskset", "-c", f"{first}-{first + arguments.cores - 1}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.cores)}
    if arguments.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
    return {"arm": arm, "seed": seed, "folder": folder, "process": process, "begun": time.time()}


def finish(running: list[dict[str, Any]]) -> None:
    """Wait for all, noting when each ends."""
    while any("seconds" not in one for one in running):
        for one in running:
            if "seconds" not in one and one["process"].poll() is not None:
                one["seconds"] = time.time() - one["begun"]
                if one["process"].returncode:
                    log = (one["folder"] / "log.txt").read_text(errors="replace")
                    raise SystemExit(f"{one['arm']} failed:\n{log[-3000:]}")
                one["scores"] = scores_of(one["arm"], one["folder"])
                print(
                    f"{one['arm']:<14} seed {one['seed']}  {one['seconds']:7.1f} s  "
                    f"dev {' '.join(f'{100 * score:.2f}' for score in one['scores'])}",
                    flush=True,
                )
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--first-core", type=int, default=0)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--gpu", dest="cpu", action="store_false")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    for hidden in ("--arm", "--seed", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        train_peer(arguments, int(arguments.seed), Path(arguments.folder))
        return
    runs: list[dict[str, Any]] = []
    for seed in range(1, arguments.seeds + 1):
        places = [arguments.first_core // arguments.cores + number for number in range(len(ARMS))]
        begun = []
        for arm, place in zip(ARMS, places, strict=True):
            begun.append(start(arm, arguments, seed, place))
            if not arguments.together:
                finish(begun)
        finish(begun)
        runs += begun
    kept = [{key: one[key] for key in ("arm", "seed", "seconds", "scores")} for one in runs]
    for arm in ARMS:
        own = [one for one in kept if one["arm"] == arm]
        accuracy = statistics.mean(one["scores"][-1] for one in own)
        seconds = statistics.median(one["seconds"] for one in own)
        print(f"{arm:<14} mean dev accuracy {100 * accuracy:.2f}  median {seconds:.1f} s")
    times = {arm: statistics.median(o["seconds"] for o in kept if o["arm"] == arm) for arm in ARMS}
    print(f"heed / transformers: {times['heed'] / times['transformers']:.2f} of the wall time")
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
