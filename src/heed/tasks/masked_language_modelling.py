"""Masked language modelling: hidden tokens, told from all the others.

Legend: B rows, T row length, K hidden tokens of a row at most, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from heed.backbone.transformer import Transformer
from heed.data.batch import MaskedBatch
from heed.data.masked_texts import MASK, MaskedTextPreparation
from heed.heads.loss import Loss, label_smoothed_cross_entropy
from heed.heads.masked import MaskedTokenHead, at_places
from heed.tasks.base import Prediction, Stage
from heed.tasks.language_modelling import LanguageModelling, joined, rows_of


class MaskedLanguageModelling(LanguageModelling):
    """Tells hidden tokens from all the others (Devlin et al. 2019, section 3.1).

    Only hidden positions go through the head.

    Args:
        backbone: An encoder.
        preparation: How texts become tokens, and what is hidden.
        n_best: How many candidates a prediction gives for each mask.
        task_settings: What every task takes; see `Task`.
    """

    of_bytes = False

    def __init__(
        self,
        *,
        backbone: Transformer,
        preparation: MaskedTextPreparation,
        n_best: int,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.preparation = preparation
        self.n_best = n_best
        self.head = MaskedTokenHead.of(backbone)
        self.add_scores()

    def logits(self, batch: MaskedBatch) -> Tensor:
        """(B, K, V), arbitrary beyond a row's count."""
        tokens = batch.tokens
        hidden = self.backbone.encode(tokens.ids, tokens.layout)  # (B, T, D)
        return self.head(at_places(hidden, batch.places))

    def loss(self, batch: MaskedBatch) -> Loss:
        """Cross-entropy of the hidden tokens."""
        assert batch.labels is not None
        return label_smoothed_cross_entropy(
            self.logits(batch), batch.labels, mask=_first(batch.counts, batch.places.shape[1])
        )

    def predict_batch(
        self, batch: MaskedBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": text, ...}`, the text with its masks filled by the likeliest tokens.

        To predict, beside it `"masks"`: of each mask the best candidates, `{"token": text,
        "probability": p}`. In evaluation how many `"tokens"` were hidden, how many of them are
        `"right"`, and the `"log_probability"` of them all.
        """
        log_p = self.logits(batch).float().log_softmax(-1)  # (B, K, V)
        best = log_p.argmax(-1)  # (B, K)
        real = _first(batch.counts, best.shape[1])  # (B, K)
        filled = _filled(batch.tokens.ids, batch.places, best, real)  # (B, T)
        told: dict[str, list[Any]]
        if batch.labels is None:
            told = {"masks": self._candidates(log_p, batch.counts.tolist())}
        else:
            own = log_p.gather(2, batch.labels[:, :, None]).squeeze(2).masked_fill(~real, 0.0)
            told = {
                "tokens": batch.counts.tolist(),
                "right": ((best == batch.labels) & real).sum(1).tolist(),
                "log_probability": own.sum(1).tolist(),
            }
        examples = rows_of(batch.indices)
        lengths = batch.tokens.layout.lengths.tolist()
        ids = [
            [token for row in rows for token in filled[row, : lengths[row]].tolist()]
            for rows in examples
        ]
        texts = self.preparation.tokenizer.decode(ids)
        return [
            {"prediction": text, **{name: joined(told[name][row] for row in rows) for name in told}}
            for text, rows in zip(texts, examples, strict=True)
        ]

    def _candidates(self, log_p: Tensor, counts: list[int]) -> list[list[list[dict[str, Any]]]]:
        """Of each row, of each of its masks, the best candidates."""
        scores, tokens = log_p.topk(min(self.n_best, log_p.shape[-1]), dim=-1)
        tokenizer = self.preparation.tokenizer
        found = []
        for row, count in enumerate(counts):
            masks = []
            for ids, values in zip(
                tokens[row, :count].tolist(), scores[row, :count].exp().tolist(), strict=True
            ):
                names = tokenizer.decode([[i] for i in ids])
                spelt = tokenizer.tokens(ids)
                masks.append(
                    [
                        {"token": name.strip() or spelling, "probability": round(p, 6)}
                        for name, spelling, p in zip(names, spelt, values, strict=True)
                    ]
                )
            found.append(masks)
        return found

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "text": record["text"],
            "filled": prediction["prediction"],
            "right": f"{prediction['right']} of {prediction['tokens']}",
        }

    def example_input(self, record: dict[str, Any]) -> dict[str, str]:
        """A text whose middle word is hidden."""
        words = record["text"].split()
        words[len(words) // 2] = MASK
        return {"text": " ".join(words)}


def _first(counts: Tensor, width: int) -> Tensor:
    """(B,) counts -> (B, width) bool, True in as many first columns."""
    return torch.arange(width, device=counts.device) < counts[:, None]


def _filled(ids: Tensor, places: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """(B, T) ids with tokens (B, K) at their places (B, K), where those are real."""
    written = torch.where(real, tokens, ids.gather(1, places))
    # Places beyond a row's count are column 0, which keeps what it has.
    return ids.scatter(1, places, written)
