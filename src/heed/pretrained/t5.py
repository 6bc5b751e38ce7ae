"""T5 (Raffel et al. 2020), T5 v1.1 (Shazeer 2020; Roberts et al. 2020) and Flan-T5 (Chung et al.
2022).

T5 does not divide the scores of its attention by sqrt(K), the backbone does: our queries are theirs
times sqrt(K).

Legend: D model width, H heads, K head width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from heed.errors import UserError
from heed.pretrained.family import Config, Family, Head, Values, required, unsupported
from heed.pretrained.mapping import Change, Entry, Part, tensor
from heed.pretrained.sentencepiece import t5_tokenizers

PROJECTIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",
    "gated-gelu_new": "geglu_tanh",
    "gated-silu": "swiglu",
}
"""Their feed-forward networks as ours."""
THEIR_PROJECTIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "geglu_tanh": "gated-gelu",
    "swiglu": "gated-silu",
}


def values(config: Config) -> dict[str, Any]:
    """The Transformer of a T5Config."""
    if config.get("is_decoder"):
        raise unsupported("is_decoder", True, "false")
    projection = config.get("feed_forward_proj", "relu")
    if projection not in PROJECTIONS:
        raise unsupported("feed_forward_proj", projection, " or ".join(PROJECTIONS))
    vocabulary, width, head_width, inner, layers, heads = required(
        config, "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"
    )
    # v1.1 says that it does not tie; transformers 5 saves it as tied but without the scale.
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    tied = config.get("tie_word_embeddings") is not False and scaled
    encoder = config.get("architectures") == ["T5EncoderModel"]
    dropout = config.get("dropout_rate", 0.1)
    return {
        "shape": "encoder" if encoder else "encoder_decoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "head_width": head_width,
        "d_feed_forward": inner,
        "n_layers": layers,
        "n_decoder_layers": None if encoder else config.get("num_decoder_layers") or layers,
        "max_length": config.get("n_positions", 512),
        "norm": "rms_norm",
        "norm_position": "pre",
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-6),
        "positions": "relative",
        "relative_buckets": config.get("relative_attention_num_buckets", 32),
        "relative_max_distance": config.get("relative_attention_max_distance", 128),
        "scale_embeddings": False,
        "activation": PROJECTIONS[projection],
        "bias": False,
        "tie_embeddings": "all" if tied else "inputs",
        "logit_scale": width**-0.5 if scaled else 1.0,
        "dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
    }


def config(values: Values) -> Config:
    """The T5Config of a Transformer.

    Raises:
        UserError: If it has a feed-forward network that T5 has not.
    """
    if values["activation"] not in THEIR_PROJECTIONS:
        raise UserError(
            f"model.activation must be one of {', '.join(THEIR_PROJECTIONS)} in a T5, "
            f"but is {values['activation']}"
        )
    encoder = values["shape"] == "encoder"
    return {
        **({"architectures": ["T5EncoderModel"]} if encoder else {}),
        "model_type": "t5",
        "is_encoder_decoder": not encoder,
        "vocab_size": values["vocabulary_size"],
        "d_model": values["d_model"],
        "num_heads": values["n_heads"],
        "d_kv": values["head_width"] or values["d_model"] // values["n_heads"],
        "d_ff": values["d_feed_forward"],
        "num_layers": values["n_layers"],
        "num_decoder_layers": values["n_decoder_layers"] or values["n_layers"],
        "n_positions": values["max_length"],
        "layer_norm_epsilon": values["norm_epsilon"],
        "relative_attention_num_buckets": values["relative_buckets"],
        "relative_attention_max_distance": values["relative_max_distance"],
        "feed_forward_proj": THEIR_PROJECTIONS[values["activation"]],
        "tie_word_embeddings": values["tie_embeddings"] == "all",
        "scale_decoder_outputs": values["logit_scale"] != 1.0,
        "dropout_rate": values["dropout"],
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a T5Model, or of its encoder."""
    tied = values["tie_embeddings"] == "all"
    yield tensor(
        "encoder.embeddings.tokens.weight",
        "shared.weight",
        also=(
            *("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
            *(("lm_head.weight",) if tied else ()),
        ),
    )
    yield from stack_entries(values, "encoder", values["n_layers"])
    if values["shape"] != "encoder":
        yield from stack_entries(
            values, "decoder", values["n_decoder_layers"] or values["n_layers"], cross=True
        )


def stack_entries(
    values: Values, side: str, layers: int, *, cross: bool = False
) -> Iterator[Entry]:
    """The tensors of a T5Stack without its table."""
    head_width = values["head_width"] or values["d_model"] // values["n_heads"]
    rows = values["n_heads"] * head_width
    query = Change(factor=math.sqrt(head_width))
    bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    yield tensor(f"{side}.position_bias.weight", bias)
    for layer in range(layers):
        ours, theirs = f"{side}.layers.{layer}", f"{side}.block.{layer}.layer"
        own, read = f"{theirs}.0.SelfAttention", f"{theirs}.1.EncDecAttention"
        yield Entry(
            f"{ours}.self_attention.qkv.weight",
            (
                Part(f"{own}.q.weight", query, rows),
                *(Part(f"{own}.{name}.weight", rows=rows) for name in "kv"),
            ),
        )
        yield tensor(f"{ours}.self_attention.output.weight", f"{own}.o.weight")
        yield tensor(f"{ours}.self_attention_residual.norm.weight", f"{theirs}.0.layer_norm.weight")
        if cross:
            yield tensor(f"{ours}.cross_attention.query.weight", f"{read}.q.weight", query)
            yield Entry(
                f"{ours}.cross_attention.key_value.weight",
                tuple(Part(f"{read}.{name}.weight", rows=rows) for name in "kv"),
            )
            yield tensor(f"{ours}.cross_attention.output.weight", f"{read}.o.weight")
            norm = f"{theirs}.1.layer_norm.weight"
            yield tensor(f"{ours}.cross_attention_residual.norm.weight", norm)
        last = f"{theirs}.{2 if cross else 1}"
        yield from _feed_forward(values, f"{ours}.feed_forward", f"{last}.DenseReluDense")
        yield tensor(f"{ours}.feed_forward_residual.norm.weight", f"{last}.layer_norm.weight")
    yield tensor(f"{side}.norm.weight", f"{side}.final_layer_norm.weight")


def _feed_forward(values: Values, ours: str, theirs: str) -> Iterator[Entry]:
    gated = values["activation"] in ("geglu_tanh", "swiglu")
    names = ("wi_0", "wi_1") if gated else ("wi",)  # the gate comes first
    rows = values["d_feed_forward"]
    parts = tuple(Part(f"{theirs}.{name}.weight", rows=rows) for name in names)
    yield Entry(f"{ours}.input.weight", parts)
    yield tensor(f"{ours}.output.weight", f"{theirs}.wo.weight")


def vocabulary_entries(values: Values) -> Iterator[Entry]:
    """T5ForConditionalGeneration: a table of its own, where it is not tied."""
    if values["tie_embeddings"] != "all":
        yield tensor("output.weight", "lm_head.weight", also=("shared.weight",))


FAMILY = Family(
    name="t5",
    model_types=("t5",),
    prefix="",
    values=values,
    config=config,
    entries=entries,
    heads={"vocabulary": Head("T5ForConditionalGeneration", vocabulary_entries)},
    bare="T5Model",
    template={
        "text": ["A", "eos"],
        "pair": ["A", "eos", "B", "eos"],
        "source": ["A", "eos"],
        "target": ["bos", "A", "eos"],
    },
    special_tokens={"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "bos": "<pad>"},
    tokenizers=t5_tokenizers,
    not_needed=(
        "lm_head.",
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.",  # of no effect
        "classification_head.",
        "qa_outputs.",
    ),
)
