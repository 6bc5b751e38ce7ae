"""Short trainings of language models that must beat what knows only how frequent tokens are."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from heed.data.builtin.generate import generate
from heed.text.tokenizer import Tokenizer

pytestmark = pytest.mark.learning

SMALL = (
    *("model.d_model=64", "model.d_feed_forward=256", "tokenizer.vocabulary_size=1000"),
    *("optimizer.lr=5e-3", "trainer.max_epochs=1", "trainer=cpu", "logger=csv"),
)


def unigram_perplexity(tokenizer: Tokenizer, rows: int) -> float:
    """Of the test texts, told by how often each token occurs in them: no unigram can do better."""
    texts = [row["text"] for row in generate("masked_lm", "test", size=rows, seed=0)]
    counts = Counter(token for ids in tokenizer.encode(texts) for token in ids)
    total = sum(counts.values())
    return math.exp(-sum(n * math.log(n / total) for n in counts.values()) / total)


@pytest.mark.parametrize(("task", "share"), [("masked_lm", 0.6), ("causal_lm", 0.33)])
def test_an_epoch_is_worth_more_than_frequencies(task: str, share: float, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heed", "train", f"task={task}", *SMALL]
    command += [f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    (record,) = tmp_path.rglob("run.json")
    perplexity = json.loads(record.read_text())["metrics"]["test/perplexity"]
    unigrams = unigram_perplexity(Tokenizer.load(record.parent / "tokenizer"), 500)
    assert perplexity < share * unigrams
