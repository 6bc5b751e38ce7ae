"""Rotary positions as config.json tells them."""

from __future__ import annotations

from heed.errors import UserError
from heed.pretrained.family import Config, Values, unsupported

DEFAULT_BASE = 10000.0
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
"""Which waves are kept; see `heed.backbone.frequencies.llama3_frequencies`."""
KINDS = {"default": "none", "linear": "linear", "llama3": "llama3"}
"""Theirs as ours."""


def rotary_values(config: Config) -> Config:
    """Base and scaling: from `rope_parameters`, or `rope_theta` and `rope_scaling` as older
    files have it.

    Raises:
        UserError: If they are scaled as the backbone cannot.
    """
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in KINDS:
        raise unsupported("rope_scaling", kind, " or ".join(KINDS))
    share = given.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if share != 1.0:
        raise unsupported("partial_rotary_factor", share, "1.0")
    base = given.get("rope_theta") or config.get("rope_theta") or DEFAULT_BASE
    found: Config = {"rotary_base": float(base), "rotary_scaling": KINDS[kind]}
    if kind == "default":
        return found
    if not isinstance(given.get("factor"), (int, float)):
        raise UserError(
            f"the checkpoint's config.json must have a number as rope_scaling.factor with {kind}, "
            f"but has {given.get('factor')!r}"
        )
    found["rotary_factor"] = float(given["factor"])
    if kind == "llama3":
        for key, usual in LLAMA3.items():
            if given.get(key, usual) != usual:
                raise unsupported(f"rope_scaling.{key}", given[key], str(usual))
        original = given.get("original_max_position_embeddings")
        found["rotary_original_length"] = original or config["max_position_embeddings"]
    return found


def rotary_config(values: Values) -> Config:
    """The same as config.json has it, for newer and older readers.

    Raises:
        UserError: If transformers has no such scaling.
    """
    scaling = values.get("rotary_scaling", "none")
    names = {ours: theirs for theirs, ours in KINDS.items()}
    if scaling not in names:
        raise UserError(
            f"model.rotary_scaling must be {' or '.join(names)} to be written as a config.json, "
            f"but is {scaling}"
        )
    base = values["rotary_base"]
    parameters: Config = {"rope_type": names[scaling], "rope_theta": base}
    if scaling == "none":
        return {"rope_theta": base, "rope_parameters": parameters}
    parameters["factor"] = values["rotary_factor"]
    if scaling == "llama3":
        original = values["rotary_original_length"]
        parameters.update(LLAMA3, original_max_position_embeddings=original)
    return {"rope_theta": base, "rope_parameters": parameters, "rope_scaling": parameters}
