"""Tasks that write: smoothing, perplexity, several outputs."""

from __future__ import annotations

import math

import pytest
import torch


@pytest.mark.parametrize("shape", ["encoder_decoder", "decoder"])
@pytest.mark.parametrize("name", ["translation", "summarization", "generative_qa"])
def test_a_prediction_is_a_text(learned, name, shape):
    case = learned(name, shape)
    with torch.no_grad():
        found = case.task.predict_batch(case.batch, stage="predict")
    assert [set(prediction) for prediction in found] == [{"prediction"}] * len(case.records)
    assert all(isinstance(prediction["prediction"], str) for prediction in found)


def test_smoothing_belongs_to_training_only(make):
    case = make("translation", "task.label_smoothing=0.1")
    task, batch = case.task, case.batch
    with torch.no_grad():
        smoothed = task.train().loss(batch)
        plain = task.eval().loss(batch)
        memory = task.backbone.encode(batch.source.ids, batch.source.layout)
        layout = batch.target.layout.drop_last()
        hidden = task.backbone.decode(batch.target.ids[:, :-1], layout, memory, batch.source.layout)
        real = layout.mask()
        logits, labels = task.head(hidden)[real], batch.target.ids[:, 1:][real]
    reference = torch.nn.functional.cross_entropy
    torch.testing.assert_close(plain.sum, reference(logits, labels, reduction="sum"))
    torch.testing.assert_close(
        smoothed.sum, reference(logits, labels, reduction="sum", label_smoothing=0.1)
    )
    assert plain.count == smoothed.count == int(real.sum())


def test_the_models_soft_cap_bounds_the_logits(make):
    task = make("translation", "+model.logit_soft_cap=0.05").task
    assert task.head(100 * torch.randn(7, task.backbone.d_model)).abs().max() <= 0.05


def test_perplexity_is_e_to_the_loss(learned):
    task = learned("translation", "encoder_decoder").task
    assert task.derived_scores(2.5) == {"perplexity": pytest.approx(math.exp(2.5))}
    assert math.isfinite(task.derived_scores(1e6)["perplexity"])


def test_several_outputs_come_as_alternatives(make, learned):
    weights = learned("translation", "encoder_decoder").task.state_dict()
    case = make("translation", "decoding=beam", "decoding.n_best=3")
    case.task.load_state_dict(weights)
    with torch.no_grad():
        found = case.task.eval().predict_batch(case.batch, stage="test")
    for prediction, record in zip(found, case.records, strict=True):
        assert set(prediction) == {"prediction", "alternatives"}
        texts = [alternative["text"] for alternative in prediction["alternatives"]]
        scores = [alternative["score"] for alternative in prediction["alternatives"]]
        assert len(texts) == 3
        assert texts[0] == prediction["prediction"] == record["target"]
        assert scores == sorted(scores, reverse=True)


def test_validation_decodes_with_its_own_decoder(make, learned):
    """Beam search for the test, greedy search in between."""
    weights = learned("translation", "encoder_decoder").task.state_dict()
    case = make("translation", "decoding=beam", "decoding.n_best=2")
    case.task.load_state_dict(weights)
    with torch.no_grad():
        validation = case.task.eval().predict_batch(case.batch, stage="val")
    assert [set(prediction) for prediction in validation] == [{"prediction"}] * len(case.records)


def test_a_tokenizer_for_each_side(make):
    """The head has the target's vocabulary, and the target table's weight."""
    case = make(
        "translation",
        "tokenizer.joint=false",
        "tokenizer.vocabulary_size=401",
        "model.tie_embeddings=decoder",
    )
    tokenizers = case.parts.tokenizers
    backbone, head = case.task.backbone, case.task.head
    assert not tokenizers.joint
    assert head.output.weight.shape == (tokenizers.target.vocabulary_size, 32)
    assert head.output.weight is backbone.decoder.embeddings.tokens.weight
    assert head.output.weight is not backbone.encoder.embeddings.tokens.weight
    loss = case.task.loss(case.batch)
    chance = math.log(tokenizers.target.vocabulary_size)
    assert float((loss.sum / loss.count).detach()) == pytest.approx(chance, rel=0.05)
