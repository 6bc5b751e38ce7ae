"""What the arguments of a `Transformer` mean to each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_WEIGHT = (
    *("dropout", "attention_dropout", "activation_dropout", "embedding_dropout", "layer_dropout"),
    *("kernel", "gradient_checkpointing"),
)
"""Those that shape neither the weights nor what the weights mean."""

ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        (
            *("rotary_base", "local_rotary_base", "rotary_share"),
            *("rotary_scaling", "rotary_factor", "rotary_original_length"),
        ),
        ("positions", ("rotary",)),
    ),
    **dict.fromkeys(("relative_buckets", "relative_max_distance"), ("positions", ("relative",))),
    "max_length": ("positions", ("learned",)),
    **dict.fromkeys(("window", "global_layers"), ("attention", ("windowed",))),
    "tie_embeddings": ("shape", ("decoder", "encoder_decoder")),
    **dict.fromkeys(
        ("n_decoder_layers", "target_vocabulary_size"), ("shape", ("encoder_decoder",))
    ),
}
"""Those that mean something only where another has one of some values."""


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with nothing left open, as the Transformer settles it.

    Args:
        values: Arguments by name; whatever else is there stays, and what is not there is None.
    """
    both = values.get("shape") == "encoder_decoder"
    heads, width = values.get("n_heads"), values.get("d_model")
    head_width = None
    if isinstance(heads, int) and isinstance(width, int) and heads > 0:
        head_width = width // heads
    settled = {
        "n_kv_heads": heads,
        "head_width": head_width,
        "n_decoder_layers": values.get("n_layers") if both else None,
        "target_vocabulary_size": values.get("vocabulary_size"),
        "scale_embeddings": values.get("positions") == "sinusoidal",
        "qkv_bias": values.get("bias"),
    }
    given = {name: value for name, value in values.items() if value is not None}
    return {**values, **settled, **given}


def has_meaning(name: str, values: Mapping[str, Any]) -> bool:
    """Whether an argument means anything beside these."""
    other, needed = ONLY_WITH.get(name, ("", ()))
    return not other or values.get(other) in needed
