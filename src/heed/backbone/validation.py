"""Whether the values of a Transformer are in range and fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heed.errors import UserError, nearest, raise_together

CHOICES: dict[str, tuple[str, ...]] = {
    "shape": ("encoder", "decoder", "encoder_decoder"),
    "norm": ("layer_norm", "rms_norm"),
    "norm_position": ("pre", "post"),
    "positions": ("sinusoidal", "learned", "rotary"),
    "activation": ("relu", "gelu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh"),
    "attention": ("scaled_dot_product", "additive"),
    "kernel": ("auto", "reference", "sdpa"),
    "tie_embeddings": ("all", "decoder", "none"),
}
SIZES = (
    "vocabulary_size",
    "target_vocabulary_size",
    "d_model",
    "n_heads",
    "n_kv_heads",
    "head_width",
    "d_feed_forward",
    "n_layers",
    "n_decoder_layers",
    "max_length",
)
NEEDED_SIZES = ("d_model", "n_heads", "d_feed_forward", "n_layers")
LARGEST_SIZE = 2**31 - 1  # a token's id is kept in 32 bits; no width or length comes near
LARGEST = {
    "n_layers": 1000,
    "n_decoder_layers": 1000,
}  # the deepest yet: DeepNet (Wang et al. 2022)
PROBABILITIES = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "embedding_dropout",
    "layer_dropout",
)


def check_values(values: Mapping[str, Any]) -> None:
    """Check the arguments of a Transformer, all of them before raising.

    Args:
        values: Argument names and values.

    Raises:
        UserError: If one is wrong.
        UserErrors: If several are.
    """
    errors = [
        UserError(
            f"model.{name} must be one of {', '.join(valid)}, but is {values[name]!r}",
            nearest(str(values[name]), valid),
        )
        for name, valid in CHOICES.items()
        if values[name] not in valid
    ]
    for name in SIZES:
        size = values[name]
        if size is None and name not in NEEDED_SIZES:
            continue
        if not (_is_integer(size) and size > 0):
            errors.append(
                UserError(f"model.{name} must be a positive whole number, but is {size!r}")
            )
        elif size > LARGEST.get(name, LARGEST_SIZE):
            most = LARGEST.get(name, LARGEST_SIZE)
            errors.append(UserError(f"model.{name} must be at most {most:,}, but is {size:,}"))
    for name in PROBABILITIES:
        p = values[name]
        if p is not None and not (_is_number(p) and 0.0 <= p < 1.0):
            errors.append(
                UserError(f"model.{name} must be at least 0 and less than 1, but is {p!r}")
            )
    for name in ("norm_epsilon", "rotary_base"):
        if not (_is_number(values[name]) and values[name] > 0.0):
            errors.append(UserError(f"model.{name} must be positive, but is {values[name]!r}"))
    if not errors:
        errors = _misfits(values)
    raise_together(errors)


def _misfits(values: Mapping[str, Any]) -> list[UserError]:
    """Values that are in range alone, but do not fit together."""
    errors = []
    d_model, n_heads = values["d_model"], values["n_heads"]
    n_kv_heads, head_width = values["n_kv_heads"], values["head_width"]
    if n_kv_heads is not None and n_heads % n_kv_heads:
        errors.append(
            UserError(
                f"model.n_kv_heads must divide model.n_heads ({n_heads}), but is {n_kv_heads}",
                f"try model.n_kv_heads={_nearest_divisor(n_heads, n_kv_heads)}",
            )
        )
    if head_width is None and d_model % n_heads:
        errors.append(
            UserError(
                f"model.n_heads must divide model.d_model ({d_model}), but is {n_heads}",
                f"try model.n_heads={_nearest_divisor(d_model, n_heads)}",
            )
        )
    elif values["positions"] == "rotary" and (head_width or d_model // n_heads) % 2:
        key = "model.d_model / model.n_heads" if head_width is None else "model.head_width"
        errors.append(
            UserError(
                f"{key} must be even with model.positions=rotary, "
                f"but is {head_width or d_model // n_heads}",
                f"change {key.split()[-1]}, or use model.positions=sinusoidal",
            )
        )
    shape, target = values["shape"], values["target_vocabulary_size"]
    other_target = target is not None and target != values["vocabulary_size"]
    if shape == "encoder_decoder" and values["tie_embeddings"] == "all" and other_target:
        errors.append(
            UserError(
                "model.tie_embeddings=all must have one vocabulary for both sides, but the source "
                f"has {values['vocabulary_size']} tokens and the target {target}",
                "use model.tie_embeddings=decoder, or tokenizer.joint=true",
            )
        )
    if shape != "encoder_decoder" and other_target:
        errors.append(
            UserError(
                f"model.target_vocabulary_size must be null with model.shape={shape}, which has "
                f"one vocabulary, but is {target}",
                "use tokenizer.joint=true, or model.shape=encoder_decoder",
            )
        )
    if shape != "encoder_decoder" and values["n_decoder_layers"] is not None:
        errors.append(
            UserError(
                f"model.n_decoder_layers must be null with model.shape={shape}, "
                f"but is {values['n_decoder_layers']}",
                "set model.n_layers",
            )
        )
    return errors


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = [i for i in range(1, number + 1) if number % i == 0]
    return min(divisors, key=lambda divisor: (abs(divisor - wanted), -divisor))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
