"""Masked and causal language models: what is told of a text, and what is made of a part of one."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from heed.data.batch import Tokens

QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*Trying to infer the `batch_size`",
)
pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]

SHAPE = {"masked_lm": "encoder", "causal_lm": "decoder"}
both = pytest.mark.parametrize("name", SHAPE)


@pytest.fixture
def case(learned, name):
    return learned(name, SHAPE[name])


def sum_and_count(task, batch):
    with torch.no_grad():
        loss = task.loss(batch)
    return float(loss.sum), int(loss.count)


def predicted(task, batch, stage="val"):
    with torch.no_grad():
        return task.predict_batch(batch, stage=stage)


def prompts(case, texts):
    """A batch of texts to predict from."""
    return case.collate([{"prompt": text} for text in texts])


@both
def test_a_fresh_model_is_near_chance_and_learns(case):
    chance = math.log(case.parts.tokenizers.source.vocabulary_size)
    assert case.losses[0] == pytest.approx(chance, rel=0.08)
    assert case.losses[-1] < 0.3


@both
def test_what_is_told_of_each_text_adds_up_to_the_loss(case, name):
    total, count = sum_and_count(case.task, case.batch)
    found = predicted(case.task, case.batch)
    assert sum(p["tokens"] for p in found) == count
    assert -sum(p["log_probability"] for p in found) == pytest.approx(total, rel=1e-4)
    texts = case.parts.tokenizers.source.encode([r["text"] for r in case.records])
    if name == "causal_lm":  # all of the text and its end
        assert [p["tokens"] for p in found] == [len(ids) + 1 for ids in texts]
    else:
        assert [p["tokens"] for p in found] == [max(1, round(0.15 * len(ids))) for ids in texts]
    assert all(0 < p["right"] <= p["tokens"] for p in found)


@both
def test_more_padding_changes_nothing(case, widened):
    wide = widened(case.batch, 7)
    total, count = sum_and_count(case.task, case.batch)
    wide_total, wide_count = sum_and_count(case.task, wide)
    assert wide_count == count
    assert wide_total == pytest.approx(total, rel=1e-3, abs=1e-4)
    one, other = (predicted(case.task, batch) for batch in (case.batch, wide))
    assert [p["prediction"] for p in one] == [p["prediction"] for p in other]


@both
def test_a_text_in_several_rows_is_one_example(case, make, name):
    short = make(name, f"model.shape={SHAPE[name]}", "task.preparation.max_length=9")
    assert len(short.batch) > len(short.records)
    found = predicted(short.task.eval(), short.batch)
    assert len(found) == len(short.records)
    total, count = sum_and_count(short.task, short.batch)
    assert sum(p["tokens"] for p in found) == count
    assert -sum(p["log_probability"] for p in found) == pytest.approx(total, rel=1e-4)


@both
def test_validation_logs_its_scores(case, name):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    loader = DataLoader([case.batch], batch_size=None)
    (scores,) = trainer.validate(case.task, dataloaders=loader, verbose=False)
    total, count = sum_and_count(case.task, case.batch)
    assert scores["val/loss"] == pytest.approx(total / count, rel=1e-4)
    assert scores["val/perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    right = sum(p["right"] for p in predicted(case.task, case.batch))
    assert scores["val/token_accuracy"] == pytest.approx(100 * right / count)
    assert case.task.monitor in scores
    if name == "causal_lm":
        n_bytes = sum(len(record["text"].encode()) for record in case.records)
        bits = total / math.log(2) / n_bytes
        assert scores["val/bits_per_byte"] == pytest.approx(bits, rel=1e-3)
    else:
        assert "val/bits_per_byte" not in scores
    assert len(case.task.samples) == len(case.records)
    assert all(isinstance(text, str) for row in case.task.samples for text in row.values())


def test_hidden_tokens_are_filled_in_and_others_kept(learned):
    case = learned("masked_lm", "encoder")
    assert case.losses[-1] < 0.02
    found = predicted(case.task, case.batch)
    assert [p["prediction"] for p in found] == [r["text"] for r in case.records]
    assert all(p["right"] == p["tokens"] for p in found)


def test_only_hidden_places_go_through_the_head(learned):
    case = learned("masked_lm", "encoder")
    task, batch = case.task, case.batch
    with torch.no_grad():
        hidden = task.backbone.encode(batch.tokens.ids, batch.tokens.layout)
        everywhere = task.head(hidden).log_softmax(-1)  # (B, T, V)
        logits = task.logits(batch)
    assert logits.shape[:2] == batch.places.shape
    assert batch.places.shape[1] < batch.tokens.ids.shape[1] / 3
    expected = 0.0
    for row, count in enumerate(batch.counts.tolist()):
        for k in range(count):
            expected -= float(everywhere[row, batch.places[row, k], batch.labels[row, k]])
    assert sum_and_count(task, batch)[0] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_mask_that_is_written_gets_its_best_candidates(learned):
    case = learned("masked_lm", "encoder")
    words = case.records[0]["text"].split()
    text = " ".join([*words[:2], "[MASK]", *words[3:]])
    one, none = predicted(case.task, prompts(case, [text, "nothing hidden"]), stage="predict")
    (candidates,) = one["masks"]
    assert len(candidates) == 5
    shares = [candidate["probability"] for candidate in candidates]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.00001
    assert one["prediction"].startswith(" ".join(words[:2]))
    assert "[MASK]" not in one["prediction"]
    assert none == {"prediction": "nothing hidden", "masks": []}


def test_a_text_goes_on_as_it_was_learned_whatever_stands_beside_it(learned):
    case = learned("causal_lm", "decoder")
    texts = [record["text"] for record in case.records]
    halves = [text[: text.index(" ", len(text) * 2 // 3 - 9 * n)] for n, text in enumerate(texts)]
    batch = prompts(case, halves)
    assert not batch.tokens.layout.full
    together = predicted(case.task, batch, stage="predict")
    alone = [predicted(case.task, prompts(case, [half]), stage="predict")[0] for half in halves]
    assert [p["prediction"] for p in together] == [p["prediction"] for p in alone]
    right = [
        half + p["prediction"] == t for half, p, t in zip(halves, together, texts, strict=True)
    ]
    assert sum(right) >= 4


def test_several_ways_to_go_on_come_as_alternatives(make):
    case = make("causal_lm", "decoding=sample", "decoding.n_best=3", "decoding.max_length=5")
    (found,) = predicted(case.task.eval(), prompts(case, ["The plot"]), stage="predict")
    scores = [one["score"] for one in found["alternatives"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert found["alternatives"][0]["text"] == found["prediction"]


def test_the_beginning_of_a_packed_text_is_no_news(learned):
    case = learned("causal_lm", "decoder")
    tokenizer = case.parts.tokenizers.source
    first, second = tokenizer.encode(["It was", "They were"])
    row = [tokenizer.bos_id, *first, tokenizer.eos_id, tokenizer.bos_id, *second]
    batch = case.collate(case.records[:1])
    batch.tokens = Tokens.padded([row], tokenizer.pad_id)
    assert sum_and_count(case.task, batch)[1] == len(first) + 1 + len(second)


def test_what_is_to_be_typed_next_can_be_predicted_from(learned):
    masked = learned("masked_lm", "encoder").task.example_input({"text": "a fine old film"})
    assert masked == {"text": "a fine [MASK] film"}
    causal = learned("causal_lm", "decoder").task.example_input({"text": "a fine old film"})
    assert causal == {"text": "a fine"}
