"""What CTranslate2 writes against what Heed writes, token for token.

Both are asked for the same: the run's own limits, penalties and forbidden tokens, greedily and with
five beams. One definition differs: CTranslate2 takes forbidden tokens out before it normalises,
Heed after. A model that has learned gives them next to nothing, and the texts are the same; where
one is not, Heed decodes it once more by the engine's definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.data.batch import Tokens
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids, never_written
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.step import Step
from heed.errors import RunFailed
from heed.exporting.subject import Subject
from heed.exporting.verification import relative
from heed.tasks.writers import TransformerStep

BEAMS = 5
TIE = 1e-3  # nats: two programs may round one number so differently
_LIMITS = (
    *("max_length", "max_length_ratio", "max_length_extra"),
    *("min_length", "no_repeat_ngram_size"),
)


def decoders(subject: Subject) -> dict[str, Decoder]:
    """Greedy and beam search with the limits of the run's own decoding."""
    asked = subject.config["decoding"]
    limits = {key: asked[key] for key in _LIMITS if key in asked}
    penalty = float(asked.get("length_penalty", 1.0))
    return {
        "greedy": GreedyDecoder(**limits),
        # Stops where CTranslate2 does, at five finished hypotheses.
        f"beam {BEAMS}": BeamDecoder(
            **limits, beam_size=BEAMS, length_penalty=penalty, early_stopping=True
        ),
    }


def never_tokens(subject: Subject) -> list[str]:
    """The tokens that are never written, by name."""
    target = subject.tokenizers.target
    never = never_written(Ids(target.bos_id, target.eos_id, target.pad_id))
    return target.tokens(never)


def largest_difference(subject: Subject, folder: Path) -> float:
    """Between the log probabilities that the two give to each token of the examples' targets."""
    import ctranslate2

    engine = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)
    tokenizers = subject.tokenizers
    largest = 0.0
    for batch in subject.batches():
        sources, targets = _rows(batch.source), _rows(batch.target)
        texts = [tokenizers.target.tokens(row[1:-1]) for row in targets]  # without bos and eos
        found = engine.score_batch(
            [tokenizers.source.tokens(row) for row in sources], texts, max_input_length=0
        )
        for source, target, theirs in zip(sources, targets, found, strict=True):
            ours = _chances(subject, source, target[1:])
            assert len(ours) == len(theirs.log_probs)
            largest = max(largest, relative(torch.tensor(ours), torch.tensor(theirs.log_probs)))
    return largest


def _rows(tokens: Tokens) -> list[list[int]]:
    lengths = tokens.layout.lengths.tolist()
    return [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]


def compare(subject: Subject, folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """How many texts are the same, by decoder.

    Raises:
        RunFailed: If a text differs, also by the engine's definition of scores, and is no tie.
    """
    for name, decoder in decoders(subject).items():
        same, count = 0, 0
        for pair in _pairs(subject, folder, decoder):
            count += 1
            same += pair.ours == pair.theirs
            if pair.ours != pair.theirs and not explained(subject, pair, decoder):
                raise RunFailed(
                    "CTranslate2 must write what the model does, but for "
                    f"{' '.join(subject.tokenizers.source.tokens(pair.source)[:40])} it writes "
                    f"{' '.join(pair.theirs)} in place of {' '.join(pair.ours)} ({name}); "
                    "nothing was written",
                    "format=safetensors keeps the model as it is",
                    cause="export differs",
                )
        yield name, (same, count)


def quantized_agreement(
    subject: Subject, folder: Path, quantization: str
) -> Iterator[tuple[str, tuple[int, int]]]:
    """The same for a quantized model, which may differ."""
    for name, decoder in decoders(subject).items():
        pairs = list(_pairs(subject, folder, decoder))
        same = sum(pair.ours == pair.theirs for pair in pairs)
        yield f"{name}, {quantization}", (same, len(pairs))


class Pair(NamedTuple):
    """What two programs wrote for one source.

    Attributes:
        source: Its token ids.
        ours: The tokens that Heed wrote.
        theirs: The tokens that CTranslate2 wrote.
        limit: The most tokens that either may write.
    """

    source: list[int]
    ours: list[str]
    theirs: list[str]
    limit: int


class Normalized:
    """A step whose forbidden tokens have no share of the probability, as in CTranslate2.

    Args:
        step: The model's own step.
        never: Tokens that are never written.
        eos_id: Forbidden for the first `min_length` tokens.
        min_length: See `Decoder`.
    """

    def __init__(self, step: Step, *, never: list[int], eos_id: int, min_length: int) -> None:
        self.step = step
        self.never = never
        self.eos_id = eos_id
        self.left = min_length

    def __call__(self, tokens: Tensor) -> Tensor:
        logits = self.step(tokens)
        logits[:, self.never] = -torch.inf
        if self.left > 0:
            logits[:, self.eos_id] = -torch.inf
            self.left -= 1
        return logits

    def reorder(self, rows: Tensor) -> None:
        self.step.reorder(rows)


def _pairs(subject: Subject, folder: Path, decoder: Decoder) -> Iterator[Pair]:
    import ctranslate2

    engine = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)
    never = [[token] for token in never_tokens(subject)]
    for batch in subject.batches():
        source, layout = batch.source.ids, batch.source.layout
        ours = _written_by_heed(subject, source, layout, decoder)
        limits = decoder.max_lengths(layout.lengths).tolist()
        for row, (tokens, limit) in enumerate(zip(ours, limits, strict=True)):
            ids = source[row, : int(layout.lengths[row])].tolist()
            names = subject.tokenizers.source.tokens(ids)
            found = engine.translate_batch([names], **search_options(decoder, limit, never))
            yield Pair(ids, tokens, list(found[0].hypotheses[0]), limit)


def explained(subject: Subject, pair: Pair, decoder: Decoder) -> bool:
    """Whether two texts differ for no fault of the export."""
    ids = torch.tensor([pair.source])
    layout = Padded.unpadded(1, ids.shape[1])
    (text,) = _written_by_heed(subject, ids, layout, decoder, normalized=True)
    return text == pair.theirs or is_tie(subject, pair, decoder)


def is_tie(subject: Subject, pair: Pair, decoder: Decoder) -> bool:
    """Whether the model itself finds the two texts equally likely, but for rounding.

    Greedily, up to the first token that differs; for beams, by the score that ranks them.
    """
    ours, theirs = (_ids(subject, tokens, pair.limit) for tokens in (pair.ours, pair.theirs))
    if isinstance(decoder, BeamDecoder):
        penalty = decoder.length_penalty
        scores = [
            sum(_chances(subject, pair.source, ids)) / max(1, len(ids)) ** penalty
            for ids in (ours, theirs)
        ]
        return abs(scores[0] - scores[1]) <= TIE
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    ends = [_chances(subject, pair.source, ids[: first + 1])[-1] for ids in (ours, theirs)]
    return abs(ends[0] - ends[1]) <= TIE


def search_options(decoder: Decoder, limit: int, never: list[list[str]]) -> dict[str, Any]:
    """What CTranslate2 has to be told to search as a decoder does.

    Args:
        decoder: Greedy or beam search.
        limit: The most tokens to write.
        never: Tokens that are never written, each by itself.
    """
    return {
        "beam_size": decoder.beam_size if isinstance(decoder, BeamDecoder) else 1,
        "length_penalty": decoder.length_penalty if isinstance(decoder, BeamDecoder) else 0.0,
        "patience": 1,
        "num_hypotheses": 1,
        "max_decoding_length": limit,
        "min_decoding_length": decoder.min_length,
        "no_repeat_ngram_size": decoder.no_repeat_ngram_size,
        "suppress_sequences": never,
        "max_input_length": 0,
    }


def _written_by_heed(
    subject: Subject, ids: Tensor, layout: Padded, decoder: Decoder, *, normalized: bool = False
) -> list[list[str]]:
    """The tokens that Heed writes for each row, without the end of sentence.

    Args:
        subject: The model.
        ids: (B, S) the sources.
        layout: How they lie.
        decoder: How it writes.
        normalized: Whether scores are defined as in CTranslate2.
    """
    task: Any = subject.task
    target = subject.tokenizers.target
    with torch.inference_mode():
        memory = task.backbone.encode(ids, layout)
        step: Step = TransformerStep(task.backbone, task.head, memory, layout)
        if normalized:
            never = never_written(Ids(target.bos_id, target.eos_id, target.pad_id))
            step = Normalized(
                step, never=never, eos_id=target.eos_id, min_length=decoder.min_length
            )
        found = decoder(
            step,
            batch_size=layout.rows,
            bos_id=target.bos_id,
            eos_id=target.eos_id,
            pad_id=target.pad_id,
            max_length=decoder.max_lengths(layout.lengths),
        )
    rows = [[i for i in best[0].tokens if i != target.eos_id] for best in found]
    return [target.tokens(row) for row in rows]


def _ids(subject: Subject, tokens: list[str], limit: int) -> list[int]:
    """The ids of a text, with the end of sentence where there was room for one."""
    target = subject.tokenizers.target
    names = target.backend.get_vocab(with_added_tokens=True)
    ids = [names[token] for token in tokens]
    return [*ids, target.eos_id] if len(ids) < limit else ids


def _chances(subject: Subject, source: list[int], ids: list[int]) -> list[float]:
    """Heed's log probability of each token of a text that somebody wrote."""
    task: Any = subject.task
    bos = subject.tokenizers.target.bos_id
    with torch.inference_mode():
        memory = task.backbone.encode(torch.tensor([source]))
        hidden = task.backbone.decode(torch.tensor([[bos, *ids[:-1]]]), None, memory)
        chances = task.head(hidden)[0].float().log_softmax(-1)  # (T, V)
    found: list[float] = chances.gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    return found
