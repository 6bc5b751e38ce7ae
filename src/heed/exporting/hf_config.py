"""What transformers reads of a model beside its tensors, from a run's config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from heed.backbone.transformer import Transformer
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Ids, never_written
from heed.exporting.subject import Subject
from heed.pretrained.family import Family
from heed.pretrained.load import kind_of
from heed.pretrained.save import write_config

Values = dict[str, Any]


def values_of(subject: Subject) -> tuple[Values, Values]:
    """All arguments of the run's Transformer, and what it takes by itself."""
    parameters = inspect.signature(Transformer.__init__).parameters
    defaults = {
        name: one.default
        for name, one in parameters.items()
        if one.default is not inspect.Parameter.empty
    }
    model = subject.config["model"]
    given = {name: model[name] for name in parameters if name in model}
    backbone: Any = subject.task.backbone
    sizes = {
        "vocabulary_size": backbone.vocabulary_size,
        "target_vocabulary_size": backbone.target_vocabulary_size,
    }
    return {**defaults, **given, **sizes}, defaults


def head_kind(subject: Subject) -> str:
    """What families call the head of the run's task; "" for one that none has."""
    task: Any = subject.task
    return kind_of(task.head)


def config_json(
    subject: Subject, family: Family, values: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """config.json."""
    target = subject.tokenizers.target
    task: Any = subject.task
    labels = subject.labels if kind == "label" else None
    pooling = task.head.pooling if kind == "label" else None
    found = write_config(family, values, kind, labels, pooling)
    found["dtype"] = "float32"
    found.setdefault("pad_token_id", target.pad_id)
    if labels:
        found["problem_type"] = "single_label_classification"
        found["classifier_dropout"] = subject.config["task"].get("head_dropout")
    if values["shape"] != "encoder":
        found.setdefault("bos_token_id", target.bos_id)
        found.setdefault("eos_token_id", target.eos_id)
    if values["shape"] == "encoder_decoder":
        found["decoder_start_token_id"] = target.around["target"].before[0]
    return found


def generation_json(subject: Subject) -> dict[str, Any]:
    """generation_config.json: the run's own way of decoding."""
    target = subject.tokenizers.target
    decoder: Any = getattr(subject.task, "decoder", None)
    never = never_written(Ids(target.bos_id, target.eos_id, target.pad_id))
    found: dict[str, Any] = {
        "bos_token_id": target.bos_id,
        "eos_token_id": target.eos_id,
        "pad_token_id": target.pad_id,
        "decoder_start_token_id": target.around["target"].before[0],
        "bad_words_ids": [[i] for i in never],
    }
    if decoder is not None:
        found["max_new_tokens"] = decoder.max_length
        if decoder.no_repeat_ngram_size:
            found["no_repeat_ngram_size"] = decoder.no_repeat_ngram_size
    if isinstance(decoder, BeamDecoder):
        found["num_beams"] = decoder.beam_size
        found["length_penalty"] = decoder.length_penalty
        found["early_stopping"] = decoder.early_stopping or "never"
    return found
