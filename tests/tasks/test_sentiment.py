"""Which label a text has, and how sure the model is."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
def test_a_prediction_names_the_likeliest_label(learned, shape):
    case = learned("sentiment", shape)
    with torch.no_grad():
        found = case.task.predict_batch(case.batch, stage="predict")
        logits = case.task.logits(case.batch)
    for prediction, row in zip(found, logits.softmax(-1).tolist(), strict=True):
        assert set(prediction) == {"prediction", "probabilities"}
        assert prediction["probabilities"] == pytest.approx(
            dict(zip(case.parts.labels, row, strict=True))
        )
        assert sum(prediction["probabilities"].values()) == pytest.approx(1.0)
        best = max(prediction["probabilities"], key=prediction["probabilities"].get)
        assert prediction["prediction"] == best


def test_texts_without_a_label_are_predicted(learned):
    case = learned("sentiment", "encoder")
    batch = case.collate([{"text": record["text"]} for record in case.records])
    assert batch.labels is None
    with torch.no_grad():
        found = case.task.predict_batch(batch, stage="predict")
    assert [p["prediction"] for p in found] == [record["label"] for record in case.records]


def test_smoothing_belongs_to_training_only(make):
    case = make("sentiment", "task.label_smoothing=0.3")
    with torch.no_grad():
        smoothed = case.task.train().loss(case.batch)
        plain = case.task.eval().loss(case.batch)
        logits = case.task.logits(case.batch)
    reference = torch.nn.functional.cross_entropy
    labels = case.batch.labels
    torch.testing.assert_close(plain.sum, reference(logits, labels, reduction="sum"))
    torch.testing.assert_close(
        smoothed.sum, reference(logits, labels, reduction="sum", label_smoothing=0.3)
    )


@pytest.mark.parametrize("pooling", ["first", "pooled", "mean", "last"])
def test_every_pooling_ignores_padding(make, widened, pooling):
    case = make("sentiment", f"task.pooling={pooling}")
    case.task.eval()
    with torch.no_grad():
        narrow, wide = case.task.logits(case.batch), case.task.logits(widened(case.batch, 5))
    torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "pooling"), [("encoder", "mean"), ("decoder", "last"), ("encoder_decoder", "mean")]
)
def test_pooling_follows_the_shape_unless_it_is_said(make, learned, shape, pooling):
    case = learned("sentiment", shape)
    said = make("sentiment", f"model.shape={shape}", f"task.pooling={pooling}")
    other = make("sentiment", f"model.shape={shape}", "task.pooling=first")
    for task in (said.task, other.task):
        task.load_state_dict(case.task.state_dict())
        task.eval()
    with torch.no_grad():
        logits = case.task.logits(case.batch)
        assert torch.equal(said.task.logits(case.batch), logits)
        assert not torch.allclose(other.task.logits(case.batch), logits)
