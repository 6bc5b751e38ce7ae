"""BART (Lewis et al. 2020), and what Marian has in common with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heed.errors import UserError
from heed.pretrained.byte_level import byte_level_tokenizers
from heed.pretrained.family import (
    Config,
    Family,
    Head,
    Values,
    activation,
    required,
    their_activation,
    unsupported,
)
from heed.pretrained.mapping import Change, Entry, linear, norm, tensor

OFFSET = 2
"""Rows of its tables of positions that no token has."""
AS_WE_BUILD = {"normalize_before": False, "add_final_layer_norm": False, "is_decoder": False}
"""What older config.json say of the norms, and what they must say."""


def values(config: Config) -> dict[str, Any]:
    """The Transformer of a BartConfig."""
    expect(config, {**AS_WE_BUILD, "normalize_embedding": True, "tie_word_embeddings": True})
    start, end = config.get("decoder_start_token_id"), config.get("eos_token_id", 2)
    if start is not None and start != end:
        raise unsupported("decoder_start_token_id", start, f"eos_token_id ({end})")
    return {
        **shared_values(config),
        "embedding_norm": True,
        "positions": "learned",
        "tie_embeddings": "all",
    }


def expect(config: Config, known: dict[str, object]) -> None:
    """Refuse what a config.json says if it is not what is built.

    Raises:
        UserError: If a value is another.
    """
    for key, value in known.items():
        if config.get(key, value) != value:
            raise unsupported(key, config[key], str(value).lower())


def shared_values(config: Config) -> dict[str, Any]:
    """What the configs of BART and of Marian say in the same words."""
    vocabulary, width, longest = required(
        config, "vocab_size", "d_model", "max_position_embeddings"
    )
    sizes = []
    for name in ("attention_heads", "ffn_dim"):
        one, other = required(config, f"encoder_{name}", f"decoder_{name}")
        if one != other:
            raise unsupported(f"decoder_{name}", other, f"{one}, as its encoder")
        sizes.append(one)
    layers, decoder_layers = required(config, "encoder_layers", "decoder_layers")
    return {
        "shape": "encoder_decoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": sizes[0],
        "d_feed_forward": sizes[1],
        "n_layers": layers,
        "n_decoder_layers": decoder_layers,
        "max_length": longest,
        "norm": "layer_norm",
        "norm_position": "post",
        "norm_epsilon": 1e-5,
        "scale_embeddings": bool(config.get("scale_embedding", False)),
        "activation": activation(config, "activation_function"),
        "bias": True,
        "logit_bias": True,
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "activation_dropout": config.get("activation_dropout", 0.0),
        "layer_dropout": config.get("encoder_layerdrop", 0.0),
    }


def config(values: Values) -> Config:
    """The BartConfig of a Transformer."""
    return {
        **shared_config(values),
        "model_type": "bart",
        "normalize_embedding": True,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_bos_token_id": 0,
    }


def shared_config(values: Values) -> Config:
    """What `shared_values` reads.

    Raises:
        UserError: If a part of the model is left out, which these families cannot do.
    """
    if values["shape"] != "encoder_decoder":
        raise UserError(
            "model.shape must be encoder_decoder to be written as one of this family, "
            f"but is {values['shape']}",
            "try heed export format=safetensors",
        )
    return {
        "is_encoder_decoder": True,
        "vocab_size": values["vocabulary_size"],
        "d_model": values["d_model"],
        "encoder_attention_heads": values["n_heads"],
        "decoder_attention_heads": values["n_heads"],
        "encoder_ffn_dim": values["d_feed_forward"],
        "decoder_ffn_dim": values["d_feed_forward"],
        "encoder_layers": values["n_layers"],
        "decoder_layers": values["n_decoder_layers"] or values["n_layers"],
        "max_position_embeddings": values["max_length"],
        "scale_embedding": bool(values["scale_embeddings"]),
        "activation_function": their_activation(values),
        "dropout": values["dropout"],
        "attention_dropout": values["attention_dropout"],
        "activation_dropout": values["activation_dropout"],
        "encoder_layerdrop": values["layer_dropout"],
        "decoder_layerdrop": values["layer_dropout"],
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a BartModel, or of its encoder."""
    for side in stacks(values):
        yield tensor(
            f"{side}.embeddings.positions.weight",
            f"{side}.embed_positions.weight",
            Change(skipped_rows=OFFSET),
        )
        yield from norm(f"{side}.embeddings.norm", f"{side}.layernorm_embedding")
    yield shared_table()
    yield from layer_entries(values)


def shared_table() -> Entry:
    """The one table of both sides and of the output."""
    sides = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
    ours, theirs = "encoder.embeddings.tokens.weight", "shared.weight"
    return tensor(ours, theirs, also=(*sides, "lm_head.weight"))


def stacks(values: Values) -> dict[str, int]:
    """How many layers each side has."""
    layers = values["n_layers"]
    if values["shape"] == "encoder":
        return {"encoder": layers}
    return {"encoder": layers, "decoder": values["n_decoder_layers"] or layers}


def layer_entries(values: Values) -> Iterator[Entry]:
    """The tensors of the layers of both sides."""
    width = values["d_model"]
    for side, layers in stacks(values).items():
        for layer in range(layers):
            name = f"{side}.layers.{layer}"  # theirs too
            parts = [f"{name}.self_attn.{part}_proj" for part in "qkv"]
            yield from linear(f"{name}.self_attention.qkv", *parts, rows=3 * (width,))
            yield from linear(f"{name}.self_attention.output", f"{name}.self_attn.out_proj")
            yield from norm(f"{name}.self_attention_residual.norm", f"{name}.self_attn_layer_norm")
            if side == "decoder":
                query, *others = (f"{name}.encoder_attn.{part}_proj" for part in "qkv")
                yield from linear(f"{name}.cross_attention.query", query)
                yield from linear(f"{name}.cross_attention.key_value", *others, rows=2 * (width,))
                yield from linear(f"{name}.cross_attention.output", f"{name}.encoder_attn.out_proj")
                theirs = f"{name}.encoder_attn_layer_norm"
                yield from norm(f"{name}.cross_attention_residual.norm", theirs)
            yield from linear(f"{name}.feed_forward.input", f"{name}.fc1")
            yield from linear(f"{name}.feed_forward.output", f"{name}.fc2")
            yield from norm(f"{name}.feed_forward_residual.norm", f"{name}.final_layer_norm")


def vocabulary_entries(values: Values) -> Iterator[Entry]:
    """The bias of each token, and a table of its own where that is not tied."""
    yield tensor("output.bias", "final_logits_bias", Change(flattened=True))
    if values["tie_embeddings"] == "none":
        yield tensor("output.weight", "lm_head.weight")


NOT_NEEDED = (
    *("lm_head.", "final_logits_bias", "classification_head.", "qa_outputs."),
    *("encoder.version", "decoder.version"),
)
FAMILY = Family(
    name="bart",
    model_types=("bart",),
    prefix="model",
    values=values,
    config=config,
    entries=entries,
    heads={"vocabulary": Head("BartForConditionalGeneration", vocabulary_entries)},
    bare="BartModel",
    template={
        "text": ["bos", "A", "eos"],
        "pair": ["bos", "A", "eos", "eos", "B", "eos"],
        "source": ["bos", "A", "eos"],
        "target": ["eos", "bos", "A", "eos"],
    },
    special_tokens={"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"},
    tokenizers=byte_level_tokenizers,
    not_needed=NOT_NEEDED,
)
