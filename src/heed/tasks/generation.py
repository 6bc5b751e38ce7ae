"""Text from text: what translation, summarization and generative question answering share.

How the backbone reads and writes depends on its shape; see `heed.tasks.writers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch

from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch, PrefixBatch
from heed.data.pairs import PairPreparation
from heed.decoding.decoder import Decoder, Ids, ToWrite
from heed.decoding.step import Hypothesis
from heed.heads.loss import Loss
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.base import Prediction, Stage, Task
from heed.tasks.slot_writer import SlotWriter
from heed.tasks.writers import Writer, writer_of

Engine = Callable[[Any, Decoder], list[list[Hypothesis]]]
"""Writes for a batch what a decoder would."""


class GenerationTask(Task):
    """Learns p(target | source) token by token and writes targets by decoding.

    Args:
        backbone: An encoder-decoder, or a decoder, which reads and writes in one row.
        preparation: How pairs become tokens.
        decoder: Writes the test and predicted outputs.
        validation_decoder: Writes the outputs that validation scores; usually greedy, being fast.
        label_smoothing: Share of the target distribution spread over the vocabulary (2017, 5.4).
        bidirectional_prefix: Whether what a decoder reads all sees each other (Raffel et al. 2020,
            section 3.2.1), or only what comes before.
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
        bidirectional_prefix: bool = False,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.preparation = preparation
        self.decoder = decoder
        self.validation_decoder = validation_decoder
        self.label_smoothing = label_smoothing
        self.bidirectional_prefix = bidirectional_prefix
        self.head = VocabularyHead.of(backbone)
        self.engine: Engine | None = None  # writes in place of the decoder, not while validating
        self._slots = SlotWriter(backbone, self.head)
        self.add_scores()

    @property
    def writer(self) -> Writer:
        """How a backbone of this shape writes."""
        return writer_of(self.backbone, self.head, bidirectional_prefix=self.bidirectional_prefix)

    def loss(self, batch: PairBatch | PrefixBatch) -> Loss:
        """Cross-entropy of each real target token given those before it and the source."""
        predicted = self.writer.predicted(batch)
        return self.head.loss(
            predicted.hidden,
            predicted.labels,
            mask=predicted.mask,
            smoothing=self.label_smoothing if self.training else 0.0,
        )

    def predict_batch(
        self, batch: PairBatch | PrefixBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": text}`, with `"alternatives"` when the decoder gives several."""
        decoder = self.validation_decoder if stage == "val" else self.decoder
        if self.engine is not None and stage != "val":
            return [self._prediction(found) for found in self.engine(batch, decoder)]
        (found,) = self._written([batch], decoder)
        return [self._prediction(hypotheses) for hypotheses in found]

    def predict_batches(
        self, batches: Iterable[PairBatch | PrefixBatch]
    ) -> Iterator[list[Prediction]]:
        """As `predict_batch` of each; the next batch joins while the last is still written."""
        if self.engine is not None:
            yield from super().predict_batches(batches)
            return
        for found in self._written(batches, self.decoder):
            yield [self._prediction(hypotheses) for hypotheses in found]

    def on_validation_end(self) -> None:
        """What follows has the memory for itself."""
        self._slots.forget()

    def _written(
        self, batches: Iterable[PairBatch | PrefixBatch], decoder: Decoder
    ) -> Iterator[list[list[Hypothesis]]]:
        """The hypotheses of each batch; only alternatives are given with their scores."""
        if self._slots.backbone is not self.backbone or self._slots.head is not self.head:
            self._slots = SlotWriter(self.backbone, self.head)
        if len(self.preparation.start_ids) == 1 and self._slots.takes(decoder):
            return self._slots.write(
                batches,
                decoder,
                self._ids(),
                otherwise=lambda batch: next(self._stepwise([batch], decoder)),
            )
        return self._stepwise(batches, decoder)

    def _stepwise(
        self, batches: Iterable[PairBatch | PrefixBatch], decoder: Decoder
    ) -> Iterator[list[list[Hypothesis]]]:
        """The same, launched step by step."""
        asked = (self._asked(batch, decoder) for batch in batches)
        return decoder.stream(asked, self._ids(), with_scores=False)

    def _asked(self, batch: PairBatch | PrefixBatch, decoder: Decoder) -> ToWrite:
        """A step that has read a batch, and the most tokens that a decoder is to write for it."""
        source_lengths = self.writer.source_lengths(batch)
        step = self.writer.step(batch)
        *given, _ = self.preparation.start_ids
        for token in given:
            step(torch.full_like(source_lengths, token))
        return ToWrite(step, decoder.max_lengths(source_lengths))

    def _ids(self) -> Ids:
        tokenizer = self.preparation.target_tokenizer
        return Ids(self.preparation.start_ids[-1], tokenizer.eos_id, tokenizer.pad_id)

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
