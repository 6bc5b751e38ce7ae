"""Scores of a classifier's probabilities.

Legend: B examples, C classes, M bins.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from heed.errors import UserError
from heed.metrics.score import UNITS, Score


class ClassificationScore(Score):
    """ "accuracy", "macro_f1" and "calibration_error", 0 to 100.

    - accuracy: share of examples whose likeliest class is right.
    - macro_f1: mean F1 of the classes, of those that occur among labels or predictions (as
      torchmetrics and scikit-learn have it: a class nobody has seen has no F1).
    - calibration_error: expected calibration error (Guo et al. 2017, equation 3; Naeini et al.
      2015): the gap between mean confidence and accuracy in bins of equal width, weighted by share.

    Args:
        n_labels: C.
        n_bins: M.

    Raises:
        UserError: There are fewer than two classes or no bins.
    """

    confusion: Tensor
    bins: Tensor

    def __init__(self, *, n_labels: int, n_bins: int = 15) -> None:
        super().__init__()
        if n_labels < 2:
            raise UserError(f"a classifier must have at least 2 labels, but has {n_labels}")
        if n_bins < 1:
            raise UserError(f"n_bins must be at least 1, but is {n_bins}", "try n_bins=15")
        self.n_labels = n_labels
        self.n_bins = n_bins
        self.add_sum("confusion", n_labels, n_labels)
        # Of each bin: examples, right ones, units of confidence.
        self.add_sum("bins", 3, n_bins)

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add examples.

        Args:
            probabilities: (B, C), each row summing to 1.
            labels: (B,) the right classes.
        """
        assert probabilities.shape[1:] == (self.n_labels,), "one probability a class is needed"
        confidence, predicted = probabilities.float().max(dim=-1)  # (B,)
        self.confusion += multiclass_confusion_matrix(
            predicted, labels, num_classes=self.n_labels, validate_args=False
        )
        # Bin m is [m / M, (m + 1) / M); a confidence of 1 is in the last.
        bins = (confidence * self.n_bins).long().clamp(max=self.n_bins - 1)
        tallies = torch.stack(
            [
                torch.ones_like(labels),
                (predicted == labels).long(),
                (confidence * UNITS).round().long(),
            ]
        )  # (3, B)
        self.bins.scatter_add_(1, bins.expand(3, -1), tallies)

    def compute(self) -> dict[str, Tensor]:
        """The scores, by name."""
        confusion, bins = self.confusion.cpu().double(), self.bins.cpu().double()
        examples = confusion.sum().clamp(min=1)
        right = confusion.diag()
        seen = confusion.sum(dim=0) + confusion.sum(dim=1)  # (C,) labels plus predictions
        f1 = 2 * right / seen.clamp(min=1)
        _, bin_right, bin_confidence = bins
        gaps = (bin_right - bin_confidence / UNITS).abs()
        values = {
            "accuracy": 100.0 * float(right.sum()) / float(examples),
            "macro_f1": 100.0 * float(f1.sum() / (seen > 0).sum().clamp(min=1)),
            "calibration_error": 100.0 * float(gaps.sum() / examples),
        }
        return self.figures(values)
