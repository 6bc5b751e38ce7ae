"""Causal language modelling: each token, told from those before it.

Legend: B rows, T row length, D model width, V vocabulary, N rows that are written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from heed.backbone.transformer import Transformer
from heed.data.batch import TextBatch, Tokens
from heed.data.causal_texts import CausalTextPreparation
from heed.decoding.decoder import Decoder, Ids, ToWrite
from heed.decoding.step import Hypothesis
from heed.heads.loss import Loss
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.base import Prediction, Stage
from heed.tasks.language_modelling import LanguageModelling, joined, rows_of
from heed.tasks.writers import TransformerStep


class CausalLanguageModelling(LanguageModelling):
    """Tells each token from those before it (Bengio et al. 2003; Radford et al. 2019).

    Args:
        backbone: A decoder.
        preparation: How texts become tokens.
        decoder: Goes on with a text that is given.
        validation_decoder: Goes on with the first halves of the samples of validation and test.
        task_settings: What every task takes; see `Task`.
    """

    of_bytes = True

    def __init__(
        self,
        *,
        backbone: Transformer,
        preparation: CausalTextPreparation,
        decoder: Decoder,
        validation_decoder: Decoder,
        **task_settings: Any,
    ) -> None:
        super().__init__(**task_settings)
        self.backbone = backbone
        self.preparation = preparation
        self.decoder = decoder
        self.validation_decoder = validation_decoder
        self.head = VocabularyHead.of(backbone)
        self.add_scores()

    def asked(self, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T-1, D) for the head, (B, T-1) the next tokens, and (B, T-1) which of them count.

        Between two packed texts the beginning of the second is no news and does not count.
        """
        ids, layout, labels, counted = batch.tokens.asked()
        hidden = self.backbone.decode(ids, layout)  # (B, T-1, D)
        tokenizer = self.preparation.tokenizer
        if tokenizer.bos_id != tokenizer.eos_id:
            counted = counted & (labels != tokenizer.bos_id)
        return hidden, labels, counted

    def loss(self, batch: TextBatch) -> Loss:
        """Cross-entropy of the next tokens, the end of a text included."""
        hidden, labels, counted = self.asked(batch)
        return self.head.loss(hidden, labels, mask=counted)

    def predict_batch(
        self, batch: TextBatch, *, stage: Stage | Literal["predict"]
    ) -> list[Prediction]:
        """`{"prediction": text, ...}`.

        To predict, how the text goes on, with `"alternatives"` when the decoder gives several. In
        evaluation the likeliest token at each place, given those that are really before it; how
        many `"tokens"` there are, how many of them are `"right"`, and the `"log_probability"` of
        the text. The samples have a `"continuation"` of their first half too.
        """
        if stage == "predict":
            return self._continued(self.decoder, batch.tokens)
        hidden, labels, counted = self.asked(batch)
        log_p = self.head(hidden).float().log_softmax(-1)  # (B, T-1, V)
        best = log_p.argmax(-1)  # (B, T-1)
        own = log_p.gather(2, labels[:, :, None]).squeeze(2).masked_fill(~counted, 0.0)
        told = {
            "tokens": counted.sum(1).tolist(),
            "right": ((best == labels) & counted).sum(1).tolist(),
            "log_probability": own.sum(1).tolist(),
        }
        examples, lengths = rows_of(batch.indices), batch.tokens.layout.lengths.tolist()
        ids = [
            [token for row in rows for token in best[row, : lengths[row] - 1].tolist()]
            for rows in examples
        ]
        texts = self.preparation.tokenizer.decode(ids)
        predictions: list[Prediction] = [
            {"prediction": text, **{name: joined(told[name][row] for row in rows) for name in told}}
            for text, rows in zip(texts, examples, strict=True)
        ]
        wanted = examples[: max(0, self.n_samples - len(self.samples))]
        if wanted:
            halves = self._halves(batch.tokens, [rows[0] for rows in wanted])
            continued = self._continued(self.validation_decoder, halves)
            written = self._written(halves)
            for prediction, beginning, end in zip(predictions, written, continued, strict=False):
                prediction["continuation"] = f"{beginning} ... {end['prediction'].strip()}"
        return predictions

    def _halves(self, tokens: Tokens, rows: list[int]) -> Tokens:
        """The first halves of some rows."""
        lengths = tokens.layout.lengths.tolist()
        halves = [tokens.ids[row, : max(1, lengths[row] // 2)].tolist() for row in rows]
        return Tokens.padded(halves, self.preparation.tokenizer.pad_id).to(tokens.ids.device)

    def _written(self, prompts: Tokens) -> list[str]:
        lengths = prompts.layout.lengths.tolist()
        rows = [ids[:length] for ids, length in zip(prompts.ids.tolist(), lengths, strict=True)]
        return self.preparation.tokenizer.decode(rows)

    def predict_batches(self, batches: Iterable[TextBatch]) -> Iterator[list[Prediction]]:
        """As `predict_batch` of each; the next batch joins while the last is still written."""
        return self._all_continued(self.decoder, (batch.tokens for batch in batches))

    def _continued(self, decoder: Decoder, prompts: Tokens) -> list[Prediction]:
        (found,) = self._all_continued(decoder, [prompts])
        return found

    def _all_continued(
        self, decoder: Decoder, prompts: Iterable[Tokens]
    ) -> Iterator[list[Prediction]]:
        tokenizer = self.preparation.tokenizer
        ids = Ids(tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
        begun: deque[Tokens] = deque()

        def asked() -> Iterator[ToWrite]:
            for tokens in prompts:
                begun.append(tokens)
                lengths = tokens.layout.lengths
                room = (self.backbone.max_length - lengths).clamp(min=1)
                limits = torch.minimum(decoder.max_lengths(lengths), room)
                yield ToWrite(PromptedStep(self.backbone, self.head, tokens), limits)

        for beams in decoder.stream(asked(), ids, with_scores=False):
            tokens = begun.popleft()
            rows = zip(tokens.ids.tolist(), tokens.layout.lengths.tolist(), beams, strict=True)
            yield [self._prediction(row[:length], found) for row, length, found in rows]

    def _prediction(self, prompt: list[int], hypotheses: list[Hypothesis]) -> Prediction:
        """What is written after a prompt, spaces included: decoded with it, and cut off behind."""
        before, *whole = self.preparation.tokenizer.decode(
            [prompt, *([*prompt, *h.tokens] for h in hypotheses)]
        )
        texts = [text.removeprefix(before) for text in whole]
        prediction: Prediction = {"prediction": texts[0]}
        if len(texts) > 1:
            prediction["alternatives"] = [
                {"text": text, "score": round(h.score, 4)}
                for text, h in zip(texts, hypotheses, strict=True)
            ]
        return prediction

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        return {
            "text": record["text"],
            "continuation": prediction.pop("continuation", ""),
            "right": f"{prediction['right']} of {prediction['tokens']}",
        }

    def example_input(self, record: dict[str, Any]) -> dict[str, str]:
        """The first half of a text."""
        words = record["text"].split()
        return {"text": " ".join(words[: max(1, len(words) // 2)])}


class PromptedStep(TransformerStep):
    """Decoding steps that go on behind texts of different lengths.

    Args:
        backbone: A decoder.
        head: From hidden states to logits.
        prompts: N texts, which the first step reads in place of the token it is given.
    """

    def __init__(self, backbone: Transformer, head: VocabularyHead, prompts: Tokens) -> None:
        super().__init__(backbone, head)
        self.prompts: Tokens | None = prompts

    def __call__(self, tokens: Tensor) -> Tensor:
        """(N,) the last token of each row -> (N, V) logits of the next."""
        if self.prompts is None:
            return super().__call__(tokens)
        ids, layout = self.prompts.ids, self.prompts.layout
        self.prompts = None
        hidden = self.backbone.decode(ids, layout, cache=self.cache)  # (N, T, D)
        rows = torch.arange(layout.rows, device=hidden.device)
        return self.head(hidden[rows, layout.lengths - 1])
