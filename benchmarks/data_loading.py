"""What the data costs: tokenizing, reading batches, memory against rows. Prints tables and JSON.

    python benchmarks/data_loading.py [--parts tokens stream batches memory] [--rounds 3]
        [--data FOLDER/multi30k] [--rows 100000] [--most-rows 10000000] [--output FILE.json]

tokens: texts to token rows. Arms in turn, each `--rounds` times: `encode_batch` of the tokenizers
library (which keeps nothing), `datasets.map(batched=True)`, and Heed from records to its cache on
disk. stream: a pass over a file that is streamed. batches: reading and padding a training batch of
4k and 25k token positions. memory: most resident memory of a process that trains on so many rows,
and of one that encodes them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 8000
BATCHES = 300


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turns(arms: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each arm's wall and processor seconds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, work in arms.items():
            found[name].append(seconds(work))
    return {
        name: {
            "wall": statistics.median(wall for wall, _ in times),
            "cpu": statistics.median(cpu for _, cpu in times),
        }
        for name, times in found.items()
    }


# Tokens


def corpora(folder: Path | None, rows: int) -> dict[str, tuple[list[str], list[str]]]:
    """Sources and targets by the name of their corpus."""
    from heed.data.builtin.generate import generate
    from heed.data.rows import read_rows

    found = {}
    if folder and folder.is_dir():
        values = [row.values for row in read_rows(folder / "train.jsonl.gz")]
        found["multi30k"] = ([row["en"] for row in values], [row["de"] for row in values])
    made = list(generate("translation", "train", size=rows, seed=0))
    found[f"built-in, {rows:,} pairs"] = (
        [str(row["source"]) for row in made],
        [str(row["target"]) for row in made],
    )
    return found


def tokens(asked: argparse.Namespace) -> dict[str, Any]:
    """Sentences a second of each arm and corpus."""
    import datasets
    import pyarrow

    from heed.data.cache import encoded_rows
    from heed.data.pairs import PairPreparation
    from heed.data.record_table import RecordTable
    from heed.text.train import train_tokenizer

    datasets.disable_progress_bars()
    found = {}
    for name, (source, target) in corpora(asked.data, asked.rows).items():
        tokenizer = train_tokenizer(
            source[:20000] + target[:20000], algorithm="bpe", vocabulary_size=VOCABULARY
        )
        limits = {"max_source_length": 256, "max_target_length": 256}
        preparation = PairPreparation(
            source_tokenizer=tokenizer, target_tokenizer=tokenizer, **limits
        )
        table = pyarrow.table({"source": source, "target": target})
        records = RecordTable(table.to_batches(max_chunksize=1000), table.column_names)
        dataset = datasets.Dataset(table)
        backend = tokenizer.backend

        def library(
            texts: tuple[list[str], ...] = (source, target), backend: Any = backend
        ) -> None:
            for side in texts:
                for first in range(0, len(side), 1000):
                    backend.encode_batch(side[first : first + 1000], add_special_tokens=False)

        def mapped(dataset: Any = dataset, backend: Any = backend) -> None:
            def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
                return {
                    f"{side}_ids": [
                        e.ids for e in backend.encode_batch(batch[side], add_special_tokens=False)
                    ]
                    for side in ("source", "target")
                }

            with tempfile.TemporaryDirectory() as folder:
                dataset.map(
                    encode,
                    batched=True,
                    remove_columns=dataset.column_names,
                    cache_file_name=f"{folder}/mapped.arrow",
                    load_from_cache_file=False,
                )

        def heed(records: Any = records, preparation: Any = preparation) -> None:
            with tempfile.TemporaryDirectory() as folder:
                encoded_rows(
                    lambda: records,
                    preparation,
                    training=True,
                    records_fingerprint="",
                    cache_dir=folder,
                )

        arms = {"encode_batch": library, "datasets.map": mapped, "Heed": heed}
        times = in_turns(arms, asked.rounds)
        sentences = 2 * len(source)
        print(f"\n{name}: sentences a second (wall, processor), ratio to encode_batch")
        for arm, took in times.items():
            ratios = {k: times["encode_batch"][k] / took[k] for k in took}
            took.update({f"ratio_{k}": ratio for k, ratio in ratios.items()})
            print(
                f"  {arm:14}{sentences / took['wall']:12,.0f}{sentences / took['cpu']:12,.0f}"
                f"{ratios['wall']:8.2f}{ratios['cpu']:8.2f}"
            )
        found[name] = {"sentences": sentences, "seconds": times}
    return found


def stream(asked: argparse.Namespace) -> dict[str, Any]:
    """Sentences a second of a stream from a file: read, tokenized, shuffled, batched, padded."""
    from heed.data.corpus import Corpus
    from heed.data.pairs import PairPreparation
    from heed.data.records import Pairs
    from heed.data.sources import FileSource
    from heed.data.streamed_module import StreamedDataModule
    from heed.text.train import train_tokenizer

    source, target = next(iter(corpora(asked.data, asked.rows).values()))
    texts = source[:20000] + target[:20000]
    tokenizer = train_tokenizer(texts, algorithm="bpe", vocabulary_size=VOCABULARY)
    preparation = PairPreparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=256,
        max_target_length=256,
    )
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            json.dumps({"source": a, "target": b}) for a, b in zip(source, target, strict=True)
        ]
        (Path(folder) / "train.jsonl").write_text("\n".join(lines) + "\n")
        (Path(folder) / "dev.jsonl").write_text(lines[0] + "\n")

        def whole_pass() -> None:
            module = StreamedDataModule(
                corpus=Corpus(
                    source=FileSource(path=folder), kind=Pairs(), cache_dir=folder, streamed=True
                ),
                preparation=preparation,
                max_tokens=4096,
                batch_size=None,
                eval_max_tokens=None,
                seed=0,
                num_workers=0,
                cache_dir=folder,
                limit_examples=None,
                shuffle_buffer=8192,
            )
            rows = 0
            for batch in module.train_dataloader():
                rows += len(batch)
                if rows >= len(source):
                    return

        def library() -> None:
            for side in (source, target):
                for first in range(0, len(side), 1000):
                    tokenizer.backend.encode_batch(
                        side[first : first + 1000], add_special_tokens=False
                    )

        times = in_turns({"encode_batch": library, "stream": whole_pass}, asked.rounds)
    ratio = {k: times["encode_batch"][k] / times["stream"][k] for k in ("wall", "cpu")}
    rate = 2 * len(source) / times["stream"]["wall"]
    print(
        f"\nstream: {rate:,.0f} sentences a second, {ratio['wall']:.2f} times encode_batch "
        f"(processor {ratio['cpu']:.2f})"
    )
    return {"seconds": times, "ratio": ratio}


# Rows made up, for what does not depend on texts


class MadeUp:
    """Records that are only counted."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, which: slice) -> slice:
        return which


def made_up_preparation(mean: int) -> Any:
    """Pairs of `mean` tokens or so a side, without a text."""
    from heed.data.pairs import PairPreparation
    from heed.ragged import Ragged, offsets_of
    from heed.text.train import train_tokenizer

    class Preparation(PairPreparation):
        def encode(self, records: Any, indices: Any, *, training: bool) -> Any:
            random = np.random.default_rng(indices[0])
            sides = []
            for _ in range(2):
                lengths = random.integers(2, 2 * mean - 1, size=len(indices))
                values = random.integers(10, VOCABULARY, size=lengths.sum(), dtype=np.int32)
                sides.append(Ragged(values, offsets_of(lengths)))
            known = np.ones(len(indices), dtype=bool)
            return {"index": np.asarray(indices), **self.rows.rows(*sides, known)}

    tokenizer = train_tokenizer(["a b"], algorithm="bpe", vocabulary_size=300)
    return Preparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=256,
        max_target_length=256,
    )


def entry(folder: str, rows: int, mean: int) -> Any:
    """The cache entry of so many made-up rows, and their preparation."""
    from heed.data.cache import encoded_rows

    preparation = made_up_preparation(mean)
    fingerprint = f"{rows} {mean}"
    found = encoded_rows(
        lambda: MadeUp(rows),
        preparation,
        training=True,
        records_fingerprint=fingerprint,
        cache_dir=folder,
    )
    return found, preparation


def batches(asked: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of reading and of padding a batch."""
    from heed.data.loading import BatchRows, Collate
    from heed.data.sampler import TokenBudgetSampler

    found = {}
    print("\nmilliseconds a batch (processor): reading, with padding, padded row by row")
    with tempfile.TemporaryDirectory() as folder:
        rows, preparation = entry(folder, 200_000, 15)
        for budget in (4096, 25000):
            sampler = TokenBudgetSampler(
                lengths=rows.lengths, max_tokens=budget, batch_size=None, seed=0
            )
            numbers = [one for _, one in zip(range(BATCHES), sampler, strict=False)]
            fetch, collate = BatchRows(rows, None), Collate(preparation)
            arms: dict[str, Callable[[], Any]] = {
                "read": lambda n=numbers, f=fetch: [f[one] for one in n],
                "read and padded": lambda n=numbers, f=fetch, c=collate: [c(f[one]) for one in n],
                "row by row": lambda n=numbers, f=fetch, c=collate: [
                    c((list(f[one][0]), None)) for one in n
                ],
            }
            times = in_turns(arms, asked.rounds)
            found[str(budget)] = {name: 1000 * t["cpu"] / BATCHES for name, t in times.items()}
            print(f"  {budget:6}" + "".join(f"{ms:9.3f}" for ms in found[str(budget)].values()))
    return found


# Memory


def start_counting() -> float:
    """Forget the most memory so far; gives the MiB resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_mib()


def resident_mib() -> float:
    """Most memory resident since `start_counting`."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def child(what: str, folder: str, rows: int) -> None:
    """Encode, or read an epoch's first batches, in a process of its own; prints JSON."""
    from heed.data.loading import BatchRows, Collate
    from heed.data.sampler import TokenBudgetSampler

    entry(folder, 1000, 6)  # what is imported and kept whatever the number of rows
    before = start_counting()
    encoded, preparation = entry(folder, rows, 6)
    found: dict[str, float] = {"encoding": resident_mib() - before}
    if what == "read":
        begun = time.perf_counter()
        sampler = TokenBudgetSampler(
            lengths=encoded.lengths, max_tokens=4096, batch_size=None, seed=0
        )
        fetch, collate = BatchRows(encoded, None), Collate(preparation)
        for number, one in enumerate(sampler):
            collate(fetch[one])
            if number == 0:
                found["seconds to the first batch"] = time.perf_counter() - begun
                found["with a plan"] = resident_mib() - before
            if number == 5000:
                break
        found["after batches"] = resident_mib() - before
    print(json.dumps(found))


def memory(asked: argparse.Namespace) -> dict[str, Any]:
    """MiB above what is there with a thousand rows."""
    found: dict[str, Any] = {}
    print("\nMiB more than with 1,000 rows: encoding; with an epoch's plan; after 5,000 batches")
    rows = 10_000
    with tempfile.TemporaryDirectory() as folder:
        while rows <= asked.most_rows:
            got = {}
            for what in ("encode", "read"):
                words = [sys.executable, __file__, "--child", what, folder, str(rows)]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                got[what] = json.loads(done.stdout.splitlines()[-1])
            read = got["read"]
            found[str(rows)] = {**read, "encoding": got["encode"]["encoding"]}
            print(
                f"  {rows:12,}{got['encode']['encoding']:9.1f}{read['with a plan']:9.1f}"
                f"{read['after batches']:9.1f}   {read['seconds to the first batch']:.2f} s",
                flush=True,
            )
            rows *= 10
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "tokens": tokens,
        "stream": stream,
        "batches": batches,
        "memory": memory,
    }
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--data", type=Path, default=None, help="a folder with train.jsonl.gz")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-rows", type=int, default=10_000_000)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--child", nargs=3, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], asked.child[1], int(asked.child[2]))
        return
    found = {part: parts[part](asked) for part in asked.parts}
    if asked.output:
        before = json.loads(asked.output.read_text()) if asked.output.is_file() else {}
        asked.output.write_text(json.dumps({**before, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
