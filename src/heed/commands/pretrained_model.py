"""A config whose model comes from a checkpoint, with all that the checkpoint says filled in.

After that the frozen config stands by itself: evaluating, resuming and predicting need the run
folder alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from heed.backbone.values import NO_WEIGHT
from heed.commands.signatures import defaults_of
from heed.errors import UserError, raise_together

if TYPE_CHECKING:
    from heed.pretrained.checkpoint import Checkpoint
    from heed.pretrained.family import Family

Config = dict[str, Any]

# What may differ from the checkpoint: no weight, and the meaning of none, depends on it.
FREE = (
    *NO_WEIGHT,
    *("attention", "window", "global_layers"),
    *("rotary_scaling", "rotary_factor", "rotary_original_length"),
)
AUTO = (None, "auto")
ENCODER_ALONE = {"shape": "encoder", "n_decoder_layers": None, "target_vocabulary_size": None}
"""What changes where only the encoder of an encoder-decoder is used."""


def fill_in(config: Config) -> Config:
    """The config with the values of the checkpoint that `model.pretrained` names.

    A key of `model` that is null or left out becomes the checkpoint's. `model.family`, the commit
    in `model.revision` and `task.pooling` are set too.

    Raises:
        UserError: If the checkpoint cannot be had, is of no known family, or a key contradicts it.
    """
    model = config.get("model")
    if not isinstance(model, dict) or not model.get("pretrained"):
        return config
    checkpoint, family = open_checkpoint(model)
    defaults = defaults_of(str(model["_target_"]), "model")
    theirs = {**defaults, **family.values(checkpoint.config)}
    if model.get("shape") == "encoder" and theirs["shape"] == "encoder_decoder":
        theirs = {**theirs, **ENCODER_ALONE}
    told = {**theirs, "family": family.name}
    raise_together(list(contradictions(model, told, checkpoint.name)))
    filled = {name: theirs.get(name) if value is None else value for name, value in model.items()}
    filled = {**filled, **{name: value for name, value in theirs.items() if name not in filled}}
    depth, everywhere = filled["n_layers"], filled.get("global_layers")
    if isinstance(everywhere, list) and isinstance(depth, int):  # of the layers that are kept
        filled["global_layers"] = [layer for layer in everywhere if layer < depth]
    filled.update(family=family.name, revision=checkpoint.revision)
    config = {**config, "model": filled}
    task = config.get("task")
    pooling = family.pooling_of(checkpoint.config)
    if pooling and isinstance(task, dict) and task.get("pooling", False) in AUTO:
        config["task"] = {**task, "pooling": pooling}
    return config


def open_checkpoint(model: Mapping[str, Any]) -> tuple[Checkpoint, Family]:
    """The checkpoint that a model's node names, and its family."""
    from heed.pretrained.checkpoint import Checkpoint
    from heed.pretrained.families import family_of

    checkpoint = Checkpoint(str(model["pretrained"]), str(model.get("revision") or "main"))
    return checkpoint, family_of(checkpoint.model_type, name=checkpoint.name)


def contradictions(
    model: Mapping[str, Any], theirs: Mapping[str, Any], name: str
) -> Iterator[UserError]:
    """The keys that were given and cannot be so with this checkpoint's weights."""
    for key, value in theirs.items():
        given = model.get(key)
        if given is None or given == value or key in FREE:
            continue
        counts = key in ("n_layers", "n_decoder_layers")
        if counts and isinstance(given, int) and isinstance(value, int) and given < value:
            continue  # the first of its layers
        if key == "max_length" and theirs["positions"] != "learned":
            continue
        yield UserError(
            f"model.{key} must be {value!r}, as in {name}, but is {given!r}",
            f"leave model.{key} out",
        )
