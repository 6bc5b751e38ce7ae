"""Accuracy, macro-F1 and calibration error, derived by hand."""

from __future__ import annotations

import pytest
import torch

from heed.errors import UserError
from heed.metrics.classification import ClassificationScore


def computed(metric: ClassificationScore) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_scores_by_hand():
    metric = ClassificationScore(n_labels=3, n_bins=2)
    probabilities = torch.tensor(
        [[0.75, 0.25, 0.0], [0.625, 0.375, 0.0], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25]]
    )
    metric.update(probabilities, torch.tensor([0, 1, 2, 0]))
    # Class 0: 2 right, 3 said, 2 wanted; class 1: never said; class 2: 1 of 1. All confidences are
    # in the upper bin: their mean is 0.59375, three of four are right.
    assert computed(metric) == {
        "accuracy": 75.0,
        "macro_f1": pytest.approx(100 * (2 * 2 / 5 + 0 + 1) / 3),
        "calibration_error": pytest.approx(100 * (0.75 - 0.59375)),
    }


def test_a_class_that_nobody_has_seen_has_no_f1():
    metric = ClassificationScore(n_labels=5)
    metric.update(torch.eye(5)[:2], torch.tensor([0, 1]))
    assert computed(metric) == {"accuracy": 100.0, "macro_f1": 100.0, "calibration_error": 0.0}


@pytest.mark.parametrize(("confidence", "error"), [(0.5, 50.0), (0.9, 30.0)])
def test_bins_do_not_cancel_each_other(confidence, error):
    metric = ClassificationScore(n_labels=2, n_bins=15)
    # Certain and wrong half of the time; less certain, 0.9 in the bin next below, and always right.
    certain, less = [1.0, 0.0], [confidence, 1 - confidence]
    metric.update(torch.tensor([certain, certain, less, less]), torch.tensor([0, 1, 0, 0]))
    assert computed(metric)["calibration_error"] == pytest.approx(error)


def test_half_precision_probabilities():
    metric = ClassificationScore(n_labels=2)
    metric.update(torch.tensor([[0.75, 0.25]], dtype=torch.bfloat16), torch.tensor([0]))
    assert computed(metric)["calibration_error"] == pytest.approx(25.0)


def test_refusals():
    with pytest.raises(UserError, match="at least 2 labels, but has 1"):
        ClassificationScore(n_labels=1)
    with pytest.raises(UserError, match="n_bins must be at least 1, but is 0"):
        ClassificationScore(n_labels=2, n_bins=0)
    with pytest.raises(AssertionError, match="one probability a class"):
        ClassificationScore(n_labels=3).update(torch.rand(2, 2), torch.tensor([0, 1]))
