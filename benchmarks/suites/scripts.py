"""Suites that are scripts of their own beside `run.py`: run, read back, compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.results import Result, Row
from harness.settings import Settings

HERE = Path(__file__).resolve().parents[1]


def measure(asked: Settings, script: str) -> list[Result]:
    """The figures of one script."""
    scripts = {"data": data, "decoding": decoding, "data_size": data_size}
    return scripts[script](asked)


def data(asked: Settings) -> list[Result]:
    """Sentences tokenized a second beside the tokenizers library, and batches read and padded."""
    file = asked.work / "data.json"
    words = ["--parts", "tokens", "batches", "--rows", "2000" if asked.quick else "30000"]
    words += [f"--rounds={asked.rounds}", "--output", str(file)]
    words += ["--data", str(asked.data)] if asked.data else []
    run("data_loading.py", words)
    found: dict[str, Any] = json.loads(file.read_text())
    tokens = Result("tokenisation", "texts to token ids (Heed: to its cache on disk)")
    for corpus, one in found["tokens"].items():
        for clock, what in (("wall", "sentences/s"), ("cpu", "sentences a CPU second")):
            for arm, took in one["seconds"].items():
                rate = one["sentences"] / took[clock]
                tokens.rows.append(Row(arm, f"{what}, {corpus}", [rate]))
            for peer in [name for name in one["seconds"] if name != "Heed"]:
                tokens.compare("Heed", peer, f"{what}, {corpus}")
    collation = Result("collation", "a training batch from the cache, 15 tokens a side")
    collation.rows = [
        Row(f"heed, {arm}", f"CPU ms a batch of {int(positions):,} positions", [milliseconds])
        for positions, arms in found["batches"].items()
        for arm, milliseconds in arms.items()
    ]
    return [tokens, collation]


def data_size(asked: Settings) -> list[Result]:
    """Memory, and the time to the first batch, against the rows of the training data."""
    file = asked.work / "data_size.json"
    most = 10_000 if asked.quick else 1_000_000
    run("data_loading.py", ["--parts", "memory", f"--most-rows={most}", "--output", str(file)])
    found: dict[str, Any] = json.loads(file.read_text())["memory"]
    result = Result("data_size", "a process that reads batches, against rows of training data")
    whats = {
        "encoding": "MiB more than with 1,000 rows, encoding",
        "after batches": "MiB more, reading",
        "seconds to the first batch": "seconds to the first batch",
    }
    for rows, figures in found.items():
        for key, what in whats.items():
            result.rows.append(Row("heed", what, [max(figures[key], 0.001)], float(rows)))
    return [result]


def decoding(asked: Settings) -> list[Result]:
    """Output tokens a second, greedy and by beams, beside CTranslate2 and transformers."""
    place, file = asked.work / "decoded", asked.work / "decoding.json"
    model = "tiny" if asked.quick else "small"
    steps = 2 if asked.quick else 150
    heed = [
        *(sys.executable, "-m", "heed", "train", f"model={model}", "logger=csv", "trainer=cpu"),
        *(f"trainer.max_steps={steps}", f"paths.run_dir={place}", "trainer.limit_val_batches=1"),
        *("trainer.limit_test_batches=0", f"paths.cache_dir={asked.work / 'cache'}"),
    ]
    subprocess.run(heed, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sentences = 20 if asked.quick else 200
    words = [str(place), f"--sentences={sentences}", f"--rounds={asked.rounds}"]
    run("decoding.py", [*words, "--json", str(file)])
    found: dict[str, Any] = json.loads(file.read_text())
    result = Result("decoding", f"decoding with model={model}", settings={"sentences": sentences})
    for search, arms in found.items():
        if isinstance(arms, dict):
            add_search(result, f"output tokens/s, {search}", arms)
    return [result]


def add_search(result: Result, what: str, arms: dict[str, dict[str, Any]]) -> None:
    """The arms of one search, and Heed's best over each peer."""
    result.rows += [Row(name, what, arm["rates"]) for name, arm in arms.items()]
    own = [name for name in arms if name.startswith("heed")]
    if own:
        best = max(own, key=lambda name: arms[name]["median"])
        for peer in [name for name in arms if name not in own]:
            result.compare(best, peer, what)


def run(script: str, words: list[str]) -> None:
    """Run a script beside `run.py`; what it prints is shown."""
    subprocess.run([sys.executable, str(HERE / script), *words], check=True)
