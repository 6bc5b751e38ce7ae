"""What every task must do: start at chance, learn a batch by heart, count each example once."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from heed.commands.compose import config_dir

QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*Trying to infer the `batch_size`",
)
pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]

CASES = [
    ("translation", "encoder_decoder"),
    ("translation", "decoder"),
    ("summarization", "encoder_decoder"),
    ("summarization", "decoder"),
    ("generative_qa", "encoder_decoder"),
    ("generative_qa", "decoder"),
    ("sentiment", "encoder"),
    ("sentiment", "decoder"),
    ("sentiment", "encoder_decoder"),
    ("qa", "encoder"),
    ("qa", "decoder"),
    ("qa", "encoder_decoder"),
]
SCORES = {
    "translation": {"bleu", "chrf", "perplexity"},
    "summarization": {"rouge1", "rouge2", "rougeL", "rougeLsum", "perplexity"},
    "generative_qa": {"exact_match", "f1", "perplexity"},
    "sentiment": {"accuracy", "macro_f1", "calibration_error"},
    "qa": {"exact_match", "f1"},
}
PERFECT = {
    "translation": ("bleu", "chrf"),
    "summarization": ("rouge1", "rougeL"),
    "generative_qa": ("exact_match", "f1"),
    "sentiment": ("accuracy", "macro_f1"),
    "qa": ("exact_match", "f1"),
}
every_case = pytest.mark.parametrize(("name", "shape"), CASES)


def chance_loss(case) -> float:
    """The loss of one who holds all answers for equally likely."""
    if hasattr(case.batch, "passage_mask"):  # each row has its own number of places, and "none"
        places = case.batch.passage_mask.sum(1) + 1
        return float(places.float().log().mean())
    if hasattr(case.batch, "labels"):
        return math.log(len(case.parts.labels))
    return math.log(case.parts.tokenizers.target.vocabulary_size)


def expected(name, record):
    """The right prediction, and others that are as right."""
    if name == "sentiment":
        return [record["label"]]
    return record["answers"] if "qa" in name else record["references"]


def mean_loss(task, batch) -> float:
    with torch.no_grad():
        loss = task.loss(batch)
    return float(loss.sum / loss.count)


def predictions(task, batch):
    with torch.no_grad():
        return task.predict_batch(batch, stage="val")


def test_every_shape_that_a_task_can_have_is_here():
    for name in SCORES:
        task = yaml.safe_load((config_dir() / "task" / f"{name}.yaml").read_text("utf-8"))
        assert set(task["shapes"]) == {shape for case, shape in CASES if case == name}


@every_case
def test_a_fresh_model_is_near_chance(learned, name, shape):
    case = learned(name, shape)
    assert case.losses[0] == pytest.approx(chance_loss(case), rel=0.05)


@every_case
def test_one_batch_is_learned_by_heart(learned, name, shape):
    case = learned(name, shape)
    assert case.losses[-1] < 0.02
    assert len(case.losses) < 90
    found = predictions(case.task, case.batch)
    for prediction, record in zip(found, case.records, strict=True):
        assert prediction["prediction"] in expected(name, record)


@every_case
def test_more_padding_changes_nothing(learned, widened, name, shape):
    case = learned(name, shape)
    wide = widened(case.batch, 7)
    assert wide.token_positions > case.batch.token_positions
    assert mean_loss(case.task, wide) == pytest.approx(mean_loss(case.task, case.batch), rel=1e-4)
    for one, other in zip(
        predictions(case.task, case.batch), predictions(case.task, wide), strict=True
    ):
        assert one["prediction"] == other["prediction"]
        assert one.get("score") == pytest.approx(other.get("score"), abs=1e-5)
        assert one.get("probabilities") == pytest.approx(other.get("probabilities"), abs=1e-5)


@every_case
def test_a_batch_is_the_sum_of_its_rows(learned, name, shape):
    case = learned(name, shape)
    with torch.no_grad():
        whole = case.task.loss(case.batch)
        rows = [case.task.loss(case.collate([record])) for record in case.records]
    assert float(whole.count) == sum(float(row.count) for row in rows)
    assert float(whole.sum) == pytest.approx(sum(float(row.sum) for row in rows), rel=1e-4)
    together = predictions(case.task, case.batch)
    alone = [predictions(case.task, case.collate([record]))[0] for record in case.records]
    assert [p["prediction"] for p in together] == [p["prediction"] for p in alone]


@pytest.mark.parametrize(("name", "shape"), [case for case in CASES if case[0] != "sentiment"])
def test_only_real_tokens_or_windows_are_counted(learned, name, shape):
    case = learned(name, shape)
    batch = case.batch
    with torch.no_grad():
        count = int(case.task.loss(batch).count)
    if name == "qa":
        assert count == len(batch)
    elif shape == "decoder":  # all after the prefix and the token that ends it
        assert count == batch.real_tokens - int(batch.prefix.lengths.sum()) - len(batch)
    else:  # every target token but the first is predicted
        assert count == batch.target.real_tokens - len(batch)


@pytest.mark.parametrize(
    ("name", "shape"), [c for c in CASES if c[1] == "encoder" or c[0] not in ("sentiment", "qa")]
)
def test_validation_logs_its_scores(learned, name, shape):
    case = learned(name, shape)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    first, rest = case.collate(case.records[:2]), case.collate(case.records[2:])
    loader = DataLoader([first, rest], batch_size=None)
    (scores,) = trainer.validate(case.task, dataloaders=loader, verbose=False)
    assert set(scores) == {f"val/{figure}" for figure in SCORES[name] | {"loss"}}
    assert case.task.monitor in scores
    for figure in PERFECT[name]:
        assert scores[f"val/{figure}"] == pytest.approx(100.0), figure
    # The mean over all that was counted, and not the mean of the batches' means.
    assert scores["val/loss"] == pytest.approx(mean_loss(case.task, case.batch), rel=1e-4)
    if "perplexity" in SCORES[name]:
        assert scores["val/perplexity"] == pytest.approx(math.exp(scores["val/loss"]))
    assert len(case.task.samples) == min(8, len(case.records))
    assert all(isinstance(text, str) for row in case.task.samples for text in row.values())


def test_test_predictions_come_in_the_order_of_the_data_with_what_is_right(learned):
    case = learned("sentiment", "encoder")
    batch = case.collate(case.records)
    batch.indices = [5, 3, 0, 6, 1, 4, 2]
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.test(case.task, dataloaders=DataLoader([batch], batch_size=None), verbose=False)
    assert [index for index, _ in case.task.predictions] == list(range(7))
    by_index = {
        index: {**prediction, "references": [record["label"]]}
        for index, prediction, record in zip(
            batch.indices, predictions(case.task, batch), case.records, strict=True
        )
    }
    assert case.task.predictions == sorted(by_index.items())
