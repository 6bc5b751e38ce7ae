"""Whether the values of a Transformer are in range and fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.backbone.flex_validation import flex_misfits
from heed.backbone.position_validation import position_misfits
from heed.errors import UserError, nearest, raise_together

CHOICES: dict[str, tuple[str, ...]] = {
    "shape": ("encoder", "decoder", "encoder_decoder"),
    "norm": ("layer_norm", "rms_norm"),
    "norm_position": ("pre", "post", "sandwich", "parallel", "parallel_one_norm"),
    "positions": ("sinusoidal", "sinusoidal_halves", "learned", "rotary", "alibi", "relative"),
    "rotary_scaling": ("none", "linear", "ntk", "llama3"),
    "activation": ("relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"),
    "attention": ("scaled_dot_product", "windowed", "additive"),
    "kernel": ("auto", "reference", "sdpa", "flex"),
    "tie_embeddings": ("all", "inputs", "decoder", "none"),
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
    "window",
    "rotary_original_length",
    "relative_buckets",
    "relative_max_distance",
)
NEEDED_SIZES = ("d_model", "n_heads", "d_feed_forward", "n_layers")
LARGEST_SIZE = 2**31 - 1  # a token's id is kept in 32 bits; no width or length comes near
LARGEST = {
    "n_layers": 1000,
    "n_decoder_layers": 1000,
    "n_segments": 1000,
}  # the deepest yet: DeepNet (Wang et al. 2022)
PROBABILITIES = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "embedding_dropout",
    "layer_dropout",
)
POSITIVE_OR_NONE = ("local_rotary_base", "attention_soft_cap", "logit_soft_cap")


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
    layers = values["global_layers"]
    if not isinstance(layers, (list, tuple)):
        errors.append(
            UserError(
                f"model.global_layers must be a list of layers, but is {layers!r}",
                f"try model.global_layers=[{layers}]",
            )
        )
    segments = values["n_segments"]
    if not (_is_integer(segments) and 0 <= segments <= LARGEST["n_segments"]):
        errors.append(
            UserError(
                f"model.n_segments must be a whole number from 0 to {LARGEST['n_segments']}, "
                f"but is {segments!r}"
            )
        )
    for name in PROBABILITIES:
        p = values[name]
        if p is not None and not (_is_number(p) and 0.0 <= p < 1.0):
            errors.append(
                UserError(f"model.{name} must be at least 0 and less than 1, but is {p!r}")
            )
    for name in ("norm_epsilon", "rotary_base", "logit_scale", *POSITIVE_OR_NONE):
        value = values[name]
        if value is None and name in POSITIVE_OR_NONE:
            continue
        if not (_is_number(value) and value > 0.0):
            errors.append(UserError(f"model.{name} must be positive, but is {value!r}"))
    if not (_is_number(values["rotary_share"]) and 0.0 < values["rotary_share"] <= 1.0):
        share = values["rotary_share"]
        errors.append(
            UserError(f"model.rotary_share must be more than 0 and at most 1, but is {share!r}")
        )
    if not (_is_number(values["rotary_factor"]) and values["rotary_factor"] >= 1.0):
        factor = values["rotary_factor"]
        errors.append(UserError(f"model.rotary_factor must be at least 1, but is {factor!r}"))
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
    errors += [*position_misfits(values), *_attention_misfits(values)]
    shape, target = values["shape"], values["target_vocabulary_size"]
    other_target = target is not None and target != values["vocabulary_size"]
    tied = values["tie_embeddings"]
    if shape == "encoder_decoder" and tied in ("all", "inputs") and other_target:
        errors.append(
            UserError(
                f"model.tie_embeddings={tied} must have one vocabulary for both sides, but the "
                f"source has {values['vocabulary_size']} tokens and the target {target}",
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


def _attention_misfits(values: Mapping[str, Any]) -> Iterator[UserError]:
    cap = values["attention_soft_cap"]
    if cap is not None and values["attention"] == "additive":
        yield UserError(
            f"model.attention_soft_cap must be null with model.attention={values['attention']}, "
            f"but is {cap}",
            "use model.attention=scaled_dot_product",
        )
    elif cap is not None and values["kernel"] == "sdpa":
        yield UserError(
            f"model.attention_soft_cap must be null with model.kernel=sdpa, which has none, "
            f"but is {cap}",
            "use model.kernel=auto",
        )
    if values["kernel"] == "flex":
        yield from flex_misfits(values)
    yield from _window_misfits(values)
    norm_position = values["norm_position"]
    if not values["first_norm"] and norm_position != "pre":
        yield UserError(
            f"model.first_norm must be true with model.norm_position={norm_position}, but is false",
            "use model.norm_position=pre",
        )
    if values["shape"] == "encoder_decoder" and norm_position.startswith("parallel"):
        yield UserError(
            "model.norm_position must be pre, post or sandwich with model.shape=encoder_decoder, "
            f"whose decoder has a third sublayer, but is {norm_position}",
            "try model.norm_position=pre",
        )


def _window_misfits(values: Mapping[str, Any]) -> Iterator[UserError]:
    windowed, window = values["attention"] == "windowed", values["window"]
    if windowed and window is None:
        yield UserError(
            "model.window must be a positive whole number with model.attention=windowed, "
            "but is null",
            "try model.window=128",
        )
    if not windowed and window is not None:
        yield UserError(
            f"model.window must be null with model.attention={values['attention']}, "
            f"but is {window}",
            "use model.attention=windowed",
        )
    if windowed and values["positions"] in ("alibi", "relative"):
        yield UserError(
            "model.positions must be sinusoidal, learned or rotary with model.attention=windowed, "
            f"which makes no room for a bias, but is {values['positions']}",
            "try model.positions=rotary",
        )
    local, positions = values["local_rotary_base"], values["positions"]
    if local is not None and not (windowed and positions == "rotary"):
        yield UserError(
            f"model.local_rotary_base must be null with model.attention={values['attention']} and "
            f"model.positions={positions}, but is {local}",
            "it is for model.attention=windowed with model.positions=rotary",
        )
    layers = values["global_layers"]
    deepest = max(values["n_layers"], values["n_decoder_layers"] or 0)
    if layers and not windowed:
        yield UserError(
            f"model.global_layers must be [] with model.attention={values['attention']}, "
            f"but is {list(layers)}",
            "use model.attention=windowed",
        )
    for layer in layers:
        if not _is_integer(layer) or not 0 <= layer < deepest:
            yield UserError(
                f"model.global_layers must be numbers of layers (0 to {deepest - 1}), "
                f"but holds {layer!r}"
            )
            break


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = [i for i in range(1, number + 1) if number % i == 0]
    return min(divisors, key=lambda divisor: (abs(divisor - wanted), -divisor))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
