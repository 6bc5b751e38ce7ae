"""What CTranslate2 writes against what Heed writes, token for token.

Both are asked for the same: the run's own limits, penalties and forbidden tokens, greedily and with
five beams. CTranslate2 takes forbidden tokens out before it normalises, Heed after, so scores
differ by what those tokens would have had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, never_written
from heed.decoding.greedy import GreedyDecoder
from heed.errors import RunFailed
from heed.exporting.subject import Subject
from heed.tasks.generation import TransformerStep

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
    never = never_written(bos_id=target.bos_id, eos_id=target.eos_id, pad_id=target.pad_id)
    return target.tokens(never)


def compare(subject: Subject, folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """How many texts are the same, by decoder.

    Raises:
        RunFailed: If a text differs and the choice between the two was no tie.
    """
    for name, decoder in decoders(subject).items():
        same, count = 0, 0
        for pair in _pairs(subject, folder, decoder):
            count += 1
            same += pair.ours == pair.theirs
            if pair.ours != pair.theirs and not is_tie(subject, pair, decoder):
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


def _pairs(subject: Subject, folder: Path, decoder: Decoder) -> Iterator[Pair]:
    import ctranslate2

    engine = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)
    for batch in subject.batches():
        ours = _written_by_heed(subject, batch, decoder)
        limits = decoder.max_lengths(batch.source.layout.lengths).tolist()
        for row, (tokens, limit) in enumerate(zip(ours, limits, strict=True)):
            ids = batch.source.ids[row, : int(batch.source.layout.lengths[row])].tolist()
            source = subject.tokenizers.source.tokens(ids)
            found = engine.translate_batch([source], **_options(subject, decoder, limit))
            yield Pair(ids, tokens, list(found[0].hypotheses[0]), limit)


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


def _options(subject: Subject, decoder: Decoder, limit: int) -> Mapping[str, Any]:
    return {
        "beam_size": decoder.beam_size if isinstance(decoder, BeamDecoder) else 1,
        "length_penalty": decoder.length_penalty if isinstance(decoder, BeamDecoder) else 0.0,
        "patience": 1,
        "num_hypotheses": 1,
        "max_decoding_length": limit,
        "min_decoding_length": decoder.min_length,
        "no_repeat_ngram_size": decoder.no_repeat_ngram_size,
        "suppress_sequences": [[token] for token in never_tokens(subject)],
        "max_input_length": 0,
    }


def _written_by_heed(subject: Subject, batch: Any, decoder: Decoder) -> list[list[str]]:
    """The tokens that Heed writes for each row, without the end of sentence."""
    task: Any = subject.task
    target = subject.tokenizers.target
    with torch.inference_mode():
        memory = task.backbone.encode(batch.source.ids, batch.source.layout)
        found = decoder(
            TransformerStep(task.backbone, task.head, memory, batch.source.layout),
            batch_size=len(batch),
            bos_id=target.bos_id,
            eos_id=target.eos_id,
            pad_id=target.pad_id,
            max_length=decoder.max_lengths(batch.source.layout.lengths),
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
