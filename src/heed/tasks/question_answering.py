"""Extractive question answering: the span of a passage that answers a question, or none.

Legend: B rows (windows of passages), T row length, D model width.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor, nn

from heed.backbone.packed import Packed, real_rows
from heed.backbone.transformer import Transformer
from heed.data.batch import SpanBatch
from heed.data.passages import best_span
from heed.heads.loss import Loss, label_smoothed_cross_entropy
from heed.heads.span import SpanHead
from heed.metrics.squad import SquadScore
from heed.tasks.base import Prediction, Stage, Task


class QuestionAnswering(Task):
    """Points at the first and last token of the answer (Devlin et al., 2019, section 4.2).

    A long passage comes as overlapping windows; the best span over all of them is the answer.

    Args:
        backbone: An encoder, or a decoder.
        max_answer_length: Longest answer in tokens.
        answers_may_be_missing: Whether a question may have no answer (SQuAD 2.0); no answer is
            then given where its score is larger than the best span's plus `no_answer_threshold`.
        no_answer_threshold: In units of summed logits.
        task_settings: What every task takes; see `Task`.
    """

    def __init__(
        self,
        *,
        backbone: Transformer,
        max_answer_length: int,
        answers_may_be_missing: bool,
        no_answer_threshold: float,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.max_answer_length = max_answer_length
        self.answers_may_be_missing = answers_may_be_missing
        self.no_answer_threshold = no_answer_threshold
        self.head = SpanHead(d_model=backbone.d_model)
        self.add_scores()

    def logits(self, batch: SpanBatch) -> tuple[Tensor, Tensor]:
        """(B, T) of the start and (B, T) of the end, minus infinity where neither can be."""
        tokens = batch.tokens
        segments = batch.passage_mask.cumsum(1).clamp(max=1)  # question 0, passage 1
        layout = tokens.layout
        if isinstance(layout, Packed):
            rows = layout.segments().clamp(max=layout.rows - 1)
            segments = segments[rows, layout.positions()][None]  # (R, T) -> (1, N)
        hidden = self.backbone.features(tokens.ids, layout, segments)  # (B, T, D)
        allowed = batch.passage_mask.clone()
        allowed[:, 0] = True  # "no answer in this window"
        return self.head(hidden, allowed, layout)

    def loss(self, batch: SpanBatch) -> Loss:
        """Half the cross-entropy of the start plus half that of the end, summed over rows."""
        assert batch.starts is not None
        assert batch.ends is not None
        start_logits, end_logits = self.logits(batch)
        real = real_rows(batch.tokens.layout)
        start = label_smoothed_cross_entropy(start_logits, batch.starts, mask=real)
        end = label_smoothed_cross_entropy(end_logits, batch.ends, mask=real)
        return Loss(sum=(start.sum + end.sum) / 2, count=start.count)

    def predict_batch(
        self, batch: SpanBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": text, "score": p, "start": i, "end": j}` in characters of the passage.

        What competes are the spans of all windows of a passage and, where answers may be missing,
        one "no answer": that of the window which is least sure of it. `score` is the probability
        of the answer's start times that of its end, among these.
        """
        assert batch.offsets is not None
        start_logits, end_logits = self.logits(batch)
        starts, ends, scores = best_span(
            start_logits, end_logits, batch.passage_mask, self.max_answer_length
        )
        missing = start_logits[:, 0] + end_logits[:, 0]  # (B,) the first token stands for none
        rows_of: dict[int, list[int]] = {}
        for row, index in enumerate(batch.indices):
            rows_of.setdefault(index, []).append(row)
        predictions = []
        for (_, record), rows in zip(batch.examples, rows_of.values(), strict=True):
            best = max(rows, key=lambda row: float(scores[row]))
            least = min(rows, key=lambda row: float(missing[row]))
            score, none = float(scores[best]), float(missing[least])
            candidates = batch.passage_mask[rows]  # (W, T) of the passage's W windows
            candidates[rows.index(least), 0] = self.answers_may_be_missing
            total = float(
                sum(logits[rows][candidates].logsumexp(0) for logits in (start_logits, end_logits))
            )
            if self.answers_may_be_missing and none > score + self.no_answer_threshold:
                answer = {"prediction": "", "score": math.exp(none - total), "start": -1, "end": -1}
            else:
                start = int(batch.offsets[best, starts[best], 0])
                end = int(batch.offsets[best, ends[best], 1])
                answer = {
                    "prediction": record["context"][start:end],
                    "score": 0.0 if score == -math.inf else math.exp(score - total),
                    "start": start,
                    "end": end,
                }
            predictions.append(answer)
        return predictions

    def new_scores(self) -> nn.Module:
        return SquadScore()

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        scores.update([p["prediction"] for p in predictions], [self.references(r) for r in records])

    def references(self, record: dict[str, Any]) -> list[str]:
        return list(record["answers"])

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "question": record["question"],
            "prediction": prediction["prediction"],
            "reference": " | ".join(dict.fromkeys(record["answers"])) or "(no answer)",
        }
