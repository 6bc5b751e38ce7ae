"""A decoder that reads and writes in one row: equal to itself without batches, padding, cache.

Legend: B batch, N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.sampling import SamplingDecoder
from heed.tasks.writers import EncoderDecoderWriter, PrefixWriter, writer_of

DECODERS: dict[str, Decoder] = {
    "greedy": GreedyDecoder(),
    "beam": BeamDecoder(beam_size=3, n_best=2),
    "sample": SamplingDecoder(n_best=2, top_p=0.95, seed=5),
}
OPTIONS = {
    "causal": [],
    "bidirectional": ["task.bidirectional_prefix=true"],
    "rotary": ["model.positions=rotary", "model.n_kv_heads=1"],
    "relative": ["model.positions=relative", "task.bidirectional_prefix=true"],
    "windowed": ["model.attention=windowed", "model.window=5", "task.bidirectional_prefix=true"],
}


class FreshStep:
    """Computes each row anew and alone at every step.

    Args:
        task: The task.
        prefixes: N lists of ids that are read.
    """

    def __init__(self, task: Any, prefixes: list[list[int]]) -> None:
        self.task = task
        self.rows = [(len(prefix), prefix) for prefix in prefixes]

    def __call__(self, tokens: Tensor) -> Tensor:
        self.rows = [
            (read, [*row, token])
            for (read, row), token in zip(self.rows, tokens.tolist(), strict=True)
        ]
        return torch.cat([self._logits(read, row) for read, row in self.rows])

    def _logits(self, read: int, row: list[int]) -> Tensor:
        prefix = Padded.unpadded(1, read) if self.task.bidirectional_prefix else None
        hidden = self.task.backbone.decode(torch.tensor([row]), prefix=prefix)
        return self.task.head(hidden[:, -1])

    def reorder(self, rows: Tensor) -> None:
        self.rows = [self.rows[i] for i in rows.tolist()]


@pytest.fixture(scope="module")
def translators(make: Callable[..., Any]) -> dict[str, Any]:
    """A decoder for translation by each of OPTIONS, with weights that favour no token."""
    found = {}
    for name, overrides in OPTIONS.items():
        case = make("translation", "model.shape=decoder", "model.n_layers=2", *overrides)
        torch.manual_seed(7)
        for weight in case.task.backbone.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)  # so that tokens and positions matter
        case.task.eval()
        found[name] = case
    return found


def written(decoder: Decoder, step: Any, case: Any, limits: Tensor) -> list[list[Any]]:
    tokenizer = case.parts.tokenizers.target
    return decoder(
        step,
        batch_size=len(limits),
        bos_id=tokenizer.sep_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        max_length=limits,
    )


@pytest.mark.parametrize("decoding", DECODERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_batch_is_written_as_its_rows_without_a_cache(translators, option, decoding):
    case, decoder = translators[option], DECODERS[decoding]
    lengths = case.batch.prefix.lengths
    assert len(set(lengths.tolist())) > 2  # so that there is padding
    limits = torch.arange(len(lengths)) % 4 + 5
    prefixes = [
        row[:length] for row, length in zip(case.batch.prompt.tolist(), lengths, strict=True)
    ]
    with torch.no_grad():
        expected = written(decoder, FreshStep(case.task, prefixes), case, limits)
        actual = written(decoder, case.task.writer.step(case.batch), case, limits)
    for one, other in zip(actual, expected, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-3)
    assert len({tuple(one[0].tokens) for one in actual}) > 1  # it depends on what was read


@pytest.mark.parametrize("option", OPTIONS)
def test_batches_predicted_together_are_predicted_as_each_alone(translators, option):
    case = translators[option]
    records = case.records
    batches = [case.collate(part) for part in (records[:3], records[3:4], records[4:], records)]
    case.task.decoder.max_length = 9
    with torch.no_grad():
        alone = [case.task.predict_batch(batch, stage="predict") for batch in batches]
        together = list(case.task.predict_batches(iter(batches)))
    assert together == alone
    assert len({one["prediction"] for batch in alone for one in batch}) > 1


def test_texts_are_continued_together_as_each_batch_alone(make):
    case = make("causal_lm", "model.n_layers=2")
    torch.manual_seed(7)
    for weight in case.task.backbone.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    case.task.eval()
    case.task.decoder.max_length = 9
    batches = [case.collate(part) for part in (case.records[:2], case.records[2:3], case.records)]
    with torch.no_grad():
        alone = [case.task.predict_batch(batch, stage="predict") for batch in batches]
        together = list(case.task.predict_batches(iter(batches)))
    assert together == alone
    assert len({one["prediction"] for batch in alone for one in batch}) > 1


@pytest.mark.parametrize("option", OPTIONS)
def test_the_loss_is_that_of_the_target_alone(translators, option):
    """By torch's cross-entropy, row by row, on logits that are computed without padding."""
    case = translators[option]
    task, tokenizer = case.task, case.parts.tokenizers.target
    total, count = 0.0, 0
    with torch.no_grad():
        for record in case.records:
            source, target = tokenizer.encode([record["source"], record["target"]])
            prefix = [tokenizer.bos_id, *source]
            row = torch.tensor([[*prefix, tokenizer.sep_id, *target, tokenizer.eos_id]])
            layout = Padded.unpadded(1, len(prefix)) if task.bidirectional_prefix else None
            logits = task.head(task.backbone.decode(row[:, :-1], prefix=layout))[0, len(prefix) :]
            labels = row[0, len(prefix) + 1 :]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
        loss = task.loss(case.batch)
    assert int(loss.count) == count
    assert float(loss.sum) == pytest.approx(total, rel=1e-4)


def test_what_is_read_is_not_learned(translators):
    """Other target tokens at the place of the prefix's labels change nothing; the head is not
    even asked for them."""
    case = translators["causal"]
    predicted = case.task.writer.predicted(case.batch)
    longest = int(case.batch.written.lengths.max())
    assert predicted.hidden.shape[:2] == predicted.labels.shape == (len(case.batch), longest)
    assert torch.equal(predicted.mask.sum(1), case.batch.written.lengths)
    assert (predicted.labels[predicted.mask] == case.task.preparation.start_ids[0]).sum() == 0


def test_a_prediction_does_not_see_the_target(learned):
    """A batch with targets writes what one without them does."""
    case = learned("translation", "decoder")
    alone = case.collate([{"source": record["source"]} for record in case.records])
    assert alone.written is None
    assert torch.equal(alone.tokens.layout.lengths, case.batch.prefix.lengths)
    wrong = replace(
        case.batch, tokens=replace(case.batch.tokens, ids=case.batch.tokens.ids.clone())
    )
    for row, length in enumerate(case.batch.prefix.lengths.tolist()):
        wrong.tokens.ids[row, length:] = 11
    with torch.no_grad():
        found = [
            case.task.predict_batch(batch, stage="predict") for batch in (case.batch, alone, wrong)
        ]
    assert found[0] == found[1] == found[2]


def test_each_shape_has_its_writer(make):
    for shape, kind in (("decoder", PrefixWriter), ("encoder_decoder", EncoderDecoderWriter)):
        task = make("translation", f"model.shape={shape}").task
        assert isinstance(task.writer, kind)
        assert isinstance(writer_of(task.backbone, task.head, bidirectional_prefix=True), kind)
