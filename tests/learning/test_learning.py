"""Short trainings on the built-in corpora, through the real command, that must beat a stated score.

Chance and baselines on the same test splits: a bag of words tells 59 % of the reviews, pairs of
words 78 %; a translation, summary or answer written at random scores near 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.learning

RUNS = {
    # task, and more words if it is done in another way: overrides, score, least value
    "translation": (["trainer.max_epochs=3", "optimizer.lr=3e-3"], "test/bleu", 40.0),
    "translation model.shape=decoder": (
        [
            *("trainer.max_steps=400", "trainer.limit_val_batches=0", "decoding=greedy"),
            *("model.positions=rotary", "model.dropout=0.0"),
            *("optimizer.lr=3e-3", "scheduler.warmup_steps=100"),
        ],
        "test/bleu",
        12.0,
    ),
    "sentiment": (
        ["data.source.train_size=20000", "trainer.max_epochs=3", "optimizer.lr=1e-3"],
        "test/accuracy",
        78.5,
    ),
    "qa": (["trainer.max_epochs=2", "optimizer.lr=3e-3"], "test/f1", 30.0),
    "summarization": (["trainer.max_steps=700", "decoding=greedy"], "test/rouge1", 35.0),
}


@pytest.mark.parametrize("task", RUNS)
def test_a_short_training_beats_its_score(task: str, tmp_path: Path) -> None:
    overrides, score, least = RUNS[task]
    command = [sys.executable, "-m", "heed", "train", *f"task={task}".split(), "logger=csv"]
    command += [f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}"]
    finished = subprocess.run(command + overrides, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    (record,) = tmp_path.rglob("run.json")
    metrics = json.loads(record.read_text())["metrics"]
    assert metrics[score] > least, metrics
