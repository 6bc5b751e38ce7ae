"""Sentiment: which of the labels a text has, scored by accuracy, macro-F1 and calibration error.

Legend: B batch, T text length, D model width, C labels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from heed.backbone.packed import real_rows
from heed.backbone.transformer import Transformer
from heed.data.batch import TextBatch
from heed.data.labelled_text import LabelledTextPreparation
from heed.heads.label import LabelHead, Pooling, pooling_for
from heed.heads.loss import Loss, label_smoothed_cross_entropy
from heed.metrics.classification import ClassificationScore
from heed.tasks.base import Prediction, Stage, Task


class Sentiment(Task):
    """Classifies a text by a head on the pooled hidden states.

    Args:
        backbone: An encoder, or a decoder (pooled at its last token).
        preparation: How texts become tokens, and the labels by number.
        pooling: What of the hidden states the head sees.
        head_dropout: Dropout before the head.
        label_smoothing: Share of the target distribution spread over the labels.
        task_settings: What every task takes; see `Task`.
    """

    def __init__(
        self,
        *,
        backbone: Transformer,
        preparation: LabelledTextPreparation,
        pooling: Pooling | Literal["auto"],
        head_dropout: float,
        label_smoothing: float,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.labels = preparation.labels
        self.label_smoothing = label_smoothing
        self.head = LabelHead(
            d_model=backbone.d_model,
            n_labels=len(self.labels),
            pooling=pooling_for(pooling, backbone.shape),
            dropout=head_dropout,
        )
        self.add_scores()

    def logits(self, batch: TextBatch) -> Tensor:
        """(B, C)"""
        tokens = batch.tokens
        return self.head(self.backbone.features(tokens.ids, tokens.layout), tokens.layout)

    def loss(self, batch: TextBatch) -> Loss:
        """Cross-entropy of each text's label."""
        assert batch.labels is not None
        return label_smoothed_cross_entropy(
            self.logits(batch),
            batch.labels,
            mask=real_rows(batch.tokens.layout),
            smoothing=self.label_smoothing if self.training else 0.0,
        )

    def predict_batch(
        self, batch: TextBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": label, "probabilities": {label: p}}`."""
        probabilities = torch.softmax(self.logits(batch).float(), dim=-1).tolist()
        return [
            {
                "prediction": self.labels[max(range(len(row)), key=row.__getitem__)],
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row in probabilities
        ]

    def new_scores(self) -> nn.Module:
        return ClassificationScore(n_labels=len(self.labels))

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        probabilities = torch.tensor([list(p["probabilities"].values()) for p in predictions])
        labels = torch.tensor([self.labels.index(r["label"]) for r in records])
        scores.update(probabilities.to(self.device), labels.to(self.device))

    def references(self, record: dict[str, Any]) -> list[str]:
        return [record["label"]]

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        probability = max(prediction["probabilities"].values())
        return {
            "text": record["text"],
            "prediction": f"{prediction['prediction']} ({probability:.2f})",
            "reference": record["label"],
        }
