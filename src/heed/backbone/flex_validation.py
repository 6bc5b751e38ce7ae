"""Whether flex attention can compute what a Transformer is told; see `validation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.errors import UserError

NARROWEST_HEAD = 16
"""torch compiles flex attention for no narrower one."""


def flex_misfits(values: Mapping[str, Any]) -> Iterator[UserError]:
    """What is wrong with the arguments of a Transformer, each in its range."""
    if values["attention"] == "additive":
        yield UserError(
            "model.kernel must be auto with model.attention=additive, which has a kernel of its "
            "own, but is flex",
            "use model.kernel=auto",
        )
    if values["attention_dropout"] > 0.0:
        yield UserError(
            "model.attention_dropout must be 0 with model.kernel=flex, which drops no weights, "
            f"but is {values['attention_dropout']}",
            "use model.attention_dropout=0, or model.kernel=auto",
        )
    width = values["head_width"] or values["d_model"] // values["n_heads"]
    if width < NARROWEST_HEAD:
        own = values["head_width"] is not None
        yield UserError(
            f"{'model.head_width' if own else 'model.d_model / model.n_heads'} must be at least "
            f"{NARROWEST_HEAD} with model.kernel=flex, but is {width}",
            f"{'raise it' if own else 'use fewer model.n_heads'}, or model.kernel=auto",
        )
