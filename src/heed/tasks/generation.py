"""Text from text: what translation, summarization and generative question answering share.

Legend: B batch, S source length, T target length, D model width, N decoder rows, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch
from heed.data.pairs import PairPreparation
from heed.decoding.decoder import Decoder
from heed.decoding.step import Hypothesis
from heed.heads.loss import Loss, label_smoothed_cross_entropy
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.base import Prediction, Stage, Task


class TransformerStep:
    """One decoding step of an encoder-decoder, with its key-value cache.

    Args:
        backbone: The Transformer.
        head: From hidden states to logits.
        memory: (N, S, D) the encoded source of each row.
        memory_layout: Layout of the N sources.
    """

    def __init__(
        self,
        backbone: Transformer,
        head: VocabularyHead,
        memory: Tensor,
        memory_layout: Padded,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.memory = memory
        self.memory_layout = memory_layout
        self.cache = backbone.new_cache()

    def __call__(self, tokens: Tensor) -> Tensor:
        """(N,) the last token of each row -> (N, V) logits of the next."""
        layout = Padded.unpadded(tokens.shape[0], 1, tokens.device)
        hidden = self.backbone.decode(
            tokens[:, None], layout, self.memory, self.memory_layout, self.cache
        )  # (N, 1, D)
        return self.head(hidden[:, 0])  # (N, V)

    def reorder(self, rows: Tensor) -> None:
        """Keep, repeat or drop rows: row i becomes what row `rows[i]` was."""
        if self.cache.length:
            self.cache.reorder(rows)
            return
        self.memory = self.memory[rows]  # nothing is cached before the first token
        layout = self.memory_layout
        self.memory_layout = Padded(layout.lengths[rows], layout.width, full=layout.full)


class GenerationTask(Task):
    """Learns p(target | source) token by token and writes targets by decoding.

    Args:
        backbone: An encoder-decoder.
        preparation: How pairs become tokens.
        decoder: Writes the test and predicted outputs.
        validation_decoder: Writes the outputs that validation scores; usually greedy, being fast.
        label_smoothing: Share of the target distribution spread over the vocabulary (2017, 5.4).
        task_settings: What every task takes; see `Task`.
    """

    def __init__(
        self,
        *,
        backbone: Transformer,
        preparation: PairPreparation,
        decoder: Decoder,
        validation_decoder: Decoder,
        label_smoothing: float,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.preparation = preparation
        self.decoder = decoder
        self.validation_decoder = validation_decoder
        self.label_smoothing = label_smoothing
        self.head = VocabularyHead(
            d_model=backbone.d_model,
            vocabulary_size=backbone.target_vocabulary_size,
            tied=backbone.output_embedding,
            bias=False,
            soft_cap=backbone.logit_soft_cap,
        )
        self.add_scores()

    def loss(self, batch: PairBatch) -> Loss:
        """Cross-entropy of each real target token given those before it and the source."""
        source, target = batch.source, batch.target
        assert target is not None
        memory = self.backbone.encode(source.ids, source.layout)  # (B, S, D)
        layout = target.layout.drop_last()
        hidden = self.backbone.decode(
            target.ids[:, :-1], layout, memory, source.layout
        )  # (B, T-1, D)
        return label_smoothed_cross_entropy(
            self.head(hidden),  # (B, T-1, V)
            target.ids[:, 1:],
            mask=layout.mask(),
            smoothing=self.label_smoothing if self.training else 0.0,
        )

    def predict_batch(
        self, batch: PairBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": text}`, with `"alternatives"` when the decoder gives several."""
        decoder = self.validation_decoder if stage == "val" else self.decoder
        memory = self.backbone.encode(batch.source.ids, batch.source.layout)
        step = TransformerStep(self.backbone, self.head, memory, batch.source.layout)
        tokenizer = self.preparation.target_tokenizer
        beams = decoder(
            step,
            batch_size=len(batch),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            max_length=decoder.max_lengths(batch.source.layout.lengths),
            device=memory.device,
        )
        return [self._prediction(hypotheses) for hypotheses in beams]

    def _prediction(self, hypotheses: list[Hypothesis]) -> Prediction:
        texts = self.preparation.target_tokenizer.decode([h.tokens for h in hypotheses])
        prediction: Prediction = {"prediction": texts[0]}
        if len(texts) > 1:
            prediction["alternatives"] = [
                {"text": text, "score": round(h.score, 4)}
                for text, h in zip(texts, hypotheses, strict=True)
            ]
        return prediction

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        scores.update([p["prediction"] for p in predictions], [self.references(r) for r in records])

    def references(self, record: dict[str, Any]) -> list[str]:
        return list(record["references"])

    def derived_scores(self, loss: float) -> dict[str, float]:
        """Perplexity: e to the mean loss of a token, without label smoothing."""
        return {"perplexity": math.exp(min(loss, 50.0))}

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "source": record["source"],
            "prediction": prediction["prediction"],
            "reference": record["references"][0],
        }
