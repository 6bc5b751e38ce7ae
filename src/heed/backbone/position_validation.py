"""Whether what a Transformer is told of positions fits together; see `validation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.errors import UserError


def position_misfits(values: Mapping[str, Any]) -> Iterator[UserError]:
    """What is wrong with the arguments of a Transformer, each in its range."""
    head_width, share = values["head_width"], values["rotary_share"]
    if head_width is None and not values["d_model"] % values["n_heads"]:
        head_width = values["d_model"] // values["n_heads"]
    if values["positions"] == "rotary" and head_width is not None:
        turning = rotary_width(head_width, share)
        key = (
            "model.d_model / model.n_heads" if values["head_width"] is None else "model.head_width"
        )
        if share != 1.0:
            key = f"model.rotary_share of {head_width}"
        if turning % 2 or not turning:
            yield UserError(
                f"{key} must be even with model.positions=rotary, but is {turning}",
                f"change {key.split(' of ')[0].split()[-1]}, or use model.positions=sinusoidal",
            )
        elif values["rotary_scaling"] == "ntk" and turning < 4:
            yield UserError(
                f"{key} must be at least 4 with model.rotary_scaling=ntk, but is {turning}",
                "use model.rotary_scaling=linear",
            )
    if values["positions"] != "rotary" and values["rotary_scaling"] != "none":
        yield UserError(
            f"model.rotary_scaling must be none with model.positions={values['positions']}, "
            f"but is {values['rotary_scaling']}",
            "use model.positions=rotary",
        )
    if values["rotary_scaling"] == "none" and values["rotary_factor"] != 1.0:
        yield UserError(
            "model.rotary_factor must be 1 with model.rotary_scaling=none, "
            f"but is {values['rotary_factor']}",
            "use model.rotary_scaling=linear, ntk or llama3",
        )
    buckets, furthest = values["relative_buckets"], values["relative_max_distance"]
    if buckets % 4:
        yield UserError(
            f"model.relative_buckets must be a multiple of 4, but is {buckets}",
            f"try model.relative_buckets={max(4, buckets // 4 * 4)}",
        )
    if furthest <= buckets // 2:
        yield UserError(
            f"model.relative_max_distance must be more than half of model.relative_buckets "
            f"({buckets}), but is {furthest}",
            f"try model.relative_max_distance={4 * buckets}",
        )


def rotary_width(head_width: int, share: float) -> int:
    """R, how many of a head's K dimensions turn."""
    return int(head_width * share)
