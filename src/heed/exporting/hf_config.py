"""What transformers reads of a model beside its tensors, from a run's config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from heed.backbone.transformer import Transformer
from heed.decoding.beam import BeamDecoder
from heed.errors import UserError
from heed.exporting.subject import Subject
from heed.pretrained.family import Family, Head
from heed.pretrained.load import kind_of

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
    """What families call the head of the run's task.

    Raises:
        UserError: If it pools a text as no family's class does.
    """
    task: Any = subject.task
    kind = kind_of(task.head)
    if kind == "label" and task.head.pooling != "pooled":
        raise UserError(
            "format=hf needs task.pooling=pooled, as transformers' classes for labels have it, "
            f"but the run has task.pooling={task.head.pooling}",
            "train with task.pooling=pooled, or use format=onnx or format=safetensors",
        )
    return kind


def config_json(
    subject: Subject, family: Family, head: Head, values: Mapping[str, Any]
) -> dict[str, Any]:
    """config.json."""
    target = subject.tokenizers.target
    found: dict[str, Any] = {
        "architectures": [head.architecture],
        **family.config(values),
        "dtype": "float32",
        "pad_token_id": target.pad_id,
    }
    if subject.labels:
        found["id2label"] = {str(i): label for i, label in enumerate(subject.labels)}
        found["label2id"] = {label: i for i, label in enumerate(subject.labels)}
        found["problem_type"] = "single_label_classification"
        found["classifier_dropout"] = subject.config["task"].get("head_dropout")
    if values["shape"] != "encoder":
        found.update(bos_token_id=target.bos_id, eos_token_id=target.eos_id)
        found["decoder_start_token_id"] = target.around["target"].before[0]
    return found


def generation_json(subject: Subject) -> dict[str, Any]:
    """generation_config.json: the run's own way of decoding."""
    target = subject.tokenizers.target
    decoder: Any = getattr(subject.task, "decoder", None)
    found: dict[str, Any] = {
        "bos_token_id": target.bos_id,
        "eos_token_id": target.eos_id,
        "pad_token_id": target.pad_id,
        "decoder_start_token_id": target.around["target"].before[0],
        "bad_words_ids": [[i] for i in sorted({target.bos_id, target.pad_id} - {target.eos_id})],
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
