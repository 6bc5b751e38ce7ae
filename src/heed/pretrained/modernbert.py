"""ModernBERT (Warner et al. 2024): local and global layers in turn, rotary positions, gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.pretrained.family import Config, Family, Head, Values, required, unsupported
from heed.pretrained.mapping import Entry, linear, norm, tensor

GATES = {"gelu": "geglu", "gelu_pytorch_tanh": "geglu_tanh", "silu": "swiglu"}
"""The activation of their gates as ours."""
NORM_EPSILON = 1e-5
KINDS = ("sliding_attention", "full_attention")
BASES = {
    "sliding_attention": ("local_rope_theta", 10_000.0),
    "full_attention": ("global_rope_theta", 160_000.0),
}
"""What older files call the base of rotary positions in layers of a kind, and what it is there."""


def values(config: Config) -> dict[str, object]:
    """The Transformer of a ModernBertConfig."""
    usual = {
        **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), False),
        "norm_eps": NORM_EPSILON,
        "classifier_activation": "gelu",
        "decoder_bias": True,
    }
    for key, value in usual.items():
        if config.get(key, value) != value:
            raise unsupported(key, config[key], str(value).lower())
    vocabulary, width, heads, inner, layers = required(
        config,
        *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
        "num_hidden_layers",
    )
    gate = config.get("hidden_activation", "gelu")
    if gate not in GATES:
        raise unsupported("hidden_activation", gate, " or ".join(GATES))
    return {
        "shape": "encoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "d_feed_forward": inner,
        "n_layers": layers,
        "max_length": config.get("max_position_embeddings", 8192),
        "norm": "layer_norm",
        "norm_position": "pre",
        "norm_epsilon": NORM_EPSILON,
        "embedding_norm": True,
        "first_norm": False,
        "positions": "rotary",
        "scale_embeddings": False,
        "activation": GATES[gate],
        **windows(config, layers),
        "bias": False,
        "tie_embeddings": "all" if config.get("tie_word_embeddings", True) else "none",
        "dropout": 0.0,
        "attention_dropout": config.get("attention_dropout", 0.0),
        "activation_dropout": config.get("mlp_dropout", 0.0),
        "embedding_dropout": config.get("embedding_dropout", 0.0),
    }


def windows(config: Config, n_layers: int) -> Config:
    """Which layers see everything, how far the others see, and the rotary base of either."""
    every = config.get("global_attn_every_n_layers", 3)
    types = config.get("layer_types") or [KINDS[i % every == 0] for i in range(n_layers)]
    local, everywhere = (rotary_base(config, kind) for kind in KINDS)
    full = [i for i, kind in enumerate(types) if kind == "full_attention"]
    if len(full) == n_layers:
        return {"attention": "scaled_dot_product", "rotary_base": everywhere}
    window = config.get("local_attention", 128) // 2
    if window < 1:
        raise unsupported("local_attention", config["local_attention"], "2 or more")
    return {
        "attention": "windowed",
        "window": window,
        "global_layers": full,
        "rotary_base": everywhere,
        "local_rotary_base": local,
    }


def rotary_base(config: Config, kind: str) -> float:
    """Of the layers of a kind."""
    given = (config.get("rope_parameters") or {}).get(kind) or {}
    if config.get("rope_scaling") or given.get("rope_type", "default") != "default":
        scaled = config.get("rope_scaling") or given["rope_type"]
        raise unsupported("rope_parameters.rope_type", scaled, "default")
    name, usual = BASES[kind]
    base: Any = given.get("rope_theta", config.get(name, usual))
    if base is None and kind == "sliding_attention":  # the one that all layers share
        return rotary_base(config, "full_attention")
    return float(base)


def config(values: Values) -> Config:
    """The ModernBertConfig of a Transformer."""
    everywhere = values["rotary_base"]
    local = values.get("local_rotary_base")
    bases = {
        "full_attention": everywhere,
        "sliding_attention": everywhere if local is None else local,
    }
    window = values.get("window")
    full = range(values["n_layers"]) if window is None else values["global_layers"]
    embedding_dropout = values.get("embedding_dropout")
    return {
        "model_type": "modernbert",
        "vocab_size": values["vocabulary_size"],
        "hidden_size": values["d_model"],
        "num_attention_heads": values["n_heads"],
        "intermediate_size": values["d_feed_forward"],
        "num_hidden_layers": values["n_layers"],
        "max_position_embeddings": values["max_length"],
        "norm_eps": values["norm_epsilon"],
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "hidden_activation": {o: theirs for theirs, o in GATES.items()}[values["activation"]],
        "layer_types": [KINDS[i in full] for i in range(values["n_layers"])],
        "local_attention": 128 if window is None else 2 * window,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()
        },
        "global_rope_theta": bases["full_attention"],
        "local_rope_theta": bases["sliding_attention"],
        "classifier_pooling": "cls",
        "attention_dropout": values["attention_dropout"],
        "mlp_dropout": values["activation_dropout"],
        "embedding_dropout": values["dropout"] if embedding_dropout is None else embedding_dropout,
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a ModernBertModel."""
    yield tensor("encoder.embeddings.tokens.weight", "embeddings.tok_embeddings.weight")
    yield from norm("encoder.embeddings.norm", "embeddings.norm", bias=False)
    for layer in range(values["n_layers"]):
        ours, theirs = f"encoder.layers.{layer}", f"layers.{layer}"
        names: Mapping[str, str] = {
            "self_attention.qkv": "attn.Wqkv",
            "self_attention.output": "attn.Wo",
            "feed_forward.input": "mlp.Wi",
            "feed_forward.output": "mlp.Wo",
        }
        for part, name in names.items():
            yield from linear(f"{ours}.{part}", f"{theirs}.{name}", bias=False)
        if layer > 0:
            yield from norm(
                f"{ours}.self_attention_residual.norm", f"{theirs}.attn_norm", bias=False
            )
        yield from norm(f"{ours}.feed_forward_residual.norm", f"{theirs}.mlp_norm", bias=False)
    yield from norm("encoder.norm", "final_norm", bias=False)


def label_entries(values: Values) -> Iterator[Entry]:
    """ModernBertForSequenceClassification: a layer, GELU and a norm, and a classifier."""
    yield from linear("pooler.0", "head.dense", bias=False)
    yield from norm("pooler.2", "head.norm", bias=False)
    yield from linear("output", "classifier")


def masked_entries(values: Values) -> Iterator[Entry]:
    """ModernBertForMaskedLM."""
    yield from linear("transform", "head.dense", bias=False)
    yield from norm("norm", "head.norm", bias=False)
    yield tensor("vocabulary.output.bias", "decoder.bias")
    if values["tie_embeddings"] == "none":
        yield tensor("vocabulary.output.weight", "decoder.weight")


FAMILY = Family(
    name="modernbert",
    model_types=("modernbert",),
    prefix="model",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("ModernBertForSequenceClassification", label_entries),
        "masked": Head("ModernBertForMaskedLM", masked_entries),
    },
    bare="ModernBertModel",
    special_tokens={"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "cls": "[CLS]", "sep": "[SEP]"},
    pooling="pooled_gelu",
    other_poolings={"mean_gelu": {"classifier_pooling": "mean"}},
    not_needed=("head.", "decoder.", "classifier."),
)
