"""What the formats can express, told by a run's config alone, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heed.errors import UserError

HEADS = {"labelled_text": "label", "passages": "span"}
LANGUAGE = "texts"  # the kind of record of a language model
ANYWAY = "format=safetensors keeps any model"


def writes_text(config: Mapping[str, Any]) -> bool:
    """Whether the run's task writes text, token by token."""
    return bool(config["task"].get("validation_decoder"))


def is_pair(config: Mapping[str, Any]) -> bool:
    """Whether the task writes one text from another."""
    return config["task"]["kind"] != LANGUAGE


def program_faults(config: Mapping[str, Any], name: str) -> list[UserError]:
    """Why a run's model is not one program from a row of tokens to scores; empty if it is.

    Args:
        config: The run's config.
        name: The format.
    """
    kind = config["task"]["kind"]
    if kind in HEADS and not writes_text(config):
        return []
    others = "format=safetensors"
    if config["model"]["shape"] == "encoder_decoder":
        others = "format=ctranslate2 or format=safetensors"
    return [
        UserError(
            f"format={name} holds one pass from tokens to scores, for sentiment and qa, but the "
            f"run's task is {config['task']['name']}"
            + (", which writes text in a loop" if writes_text(config) else ""),
            f"use {others}",
        )
    ]


# Option of the model -> the values that CTranslate2's Transformer has; others are refused.
_HAS: dict[str, tuple[Any, ...]] = {
    "attention": ("scaled_dot_product",),
    "positions": ("sinusoidal", "sinusoidal_halves", "learned", "rotary", "relative"),
    "norm_position": ("pre", "post"),
    "activation": ("relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"),
    "attention_soft_cap": (None,),
    "qk_norm": (False,),
    "n_segments": (0,),
    "first_norm": (True,),
    "rotary_scaling": ("none", "linear"),
}


def ctranslate2_faults(config: Mapping[str, Any]) -> list[UserError]:
    """What CTranslate2 cannot express of a run's model; empty if it can express all."""
    model = config["model"]
    if model["shape"] != "encoder_decoder" or not writes_text(config):
        return [
            UserError(
                "format=ctranslate2 is for encoder-decoders that write text, but the run's task is "
                f"{config['task']['name']} with model.shape={model['shape']}",
                "use format=onnx, format=torch_export or format=safetensors"
                if config["task"]["kind"] in HEADS and not writes_text(config)
                else ANYWAY,
            )
        ]
    return [
        UserError(
            f"format=ctranslate2 needs model.{key} to be "
            f"{' or '.join(map(str, values))}, but the run has {model[key]}",
            ANYWAY,
        )
        for key, values in _HAS.items()
        if key in model and model[key] not in values
    ]


def hf_faults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[UserError]:
    """Why a run's model is none that transformers has; empty if it is one.

    Args:
        config: The run's config.
        defaults: What the Transformer takes by itself.
    """
    from heed.pretrained.matching import match
    from heed.pretrained.save import write_config

    model = config["model"]
    values: Mapping[str, Any]
    values = {"vocabulary_size": 1000, **defaults}  # a size that tells no families apart
    values |= {name: model[name] for name in (*defaults, "shape") if name in model}
    if config["task"]["kind"] == LANGUAGE:
        kind = "masked" if model["shape"] == "encoder" else "vocabulary"
    else:
        kind = "vocabulary" if writes_text(config) else HEADS[config["task"]["kind"]]
    if writes_text(config) and is_pair(config) and model["shape"] != "encoder_decoder":
        return [
            UserError(
                "format=hf has no class for a decoder that writes one text from another, but the "
                f"run's task is {config['task']['name']} with model.shape={model['shape']}",
                ANYWAY,
            )
        ]
    pooling = config["task"].get("pooling") if kind == "label" else None
    if pooling == "auto":
        pooling = "last" if model["shape"] == "decoder" else "mean"  # as `pooling_for`
    try:
        family, values = match(values, defaults, family=model.get("family"))
        write_config(family, values, kind, pooling=pooling)
    except UserError as error:
        return [error]
    return []


def longest_row(model: Mapping[str, Any]) -> int | None:
    """Most tokens of a row that an exported model takes; None for any number.

    Tables of positions are as long as `model.max_length`, and go along as they are.
    """
    tabled = model["positions"] in ("sinusoidal", "sinusoidal_halves", "learned")
    return int(model["max_length"]) if tabled else None
