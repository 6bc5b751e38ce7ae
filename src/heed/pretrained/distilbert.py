"""DistilBERT (Sanh et al. 2019): half of BERT's layers, and no segments."""

from __future__ import annotations

from collections.abc import Iterator

from heed.pretrained import bert
from heed.pretrained.family import (
    Config,
    Family,
    Head,
    Values,
    activation,
    required,
    their_activation,
)
from heed.pretrained.mapping import Entry, linear, norm, tensor

NORM_EPSILON = 1e-12
"""Of its code; no config says it."""


def values(config: Config) -> dict[str, object]:
    """The Transformer of a DistilBertConfig."""
    vocabulary, width, heads, inner, layers = required(
        config, "vocab_size", "dim", "n_heads", "hidden_dim", "n_layers"
    )
    return {
        "shape": "encoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "d_feed_forward": inner,
        "n_layers": layers,
        "max_length": config.get("max_position_embeddings", 512),
        "norm": "layer_norm",
        "norm_position": "post",
        "norm_epsilon": NORM_EPSILON,
        "embedding_norm": True,
        "positions": "learned",
        "scale_embeddings": False,
        "activation": activation(config, "activation"),
        "bias": True,
        "tie_embeddings": "all" if config.get("tie_word_embeddings", True) else "none",
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.1),
    }


def config(values: Values) -> Config:
    """The DistilBertConfig of a Transformer."""
    return {
        "model_type": "distilbert",
        "vocab_size": values["vocabulary_size"],
        "dim": values["d_model"],
        "n_heads": values["n_heads"],
        "hidden_dim": values["d_feed_forward"],
        "n_layers": values["n_layers"],
        "max_position_embeddings": values["max_length"],
        "activation": their_activation(values),
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "dropout": values["dropout"],
        "attention_dropout": values["attention_dropout"],
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a DistilBertModel."""
    ours, theirs = "encoder.embeddings", "embeddings"
    yield tensor(f"{ours}.tokens.weight", f"{theirs}.word_embeddings.weight")
    yield tensor(f"{ours}.positions.weight", f"{theirs}.position_embeddings.weight")
    yield from norm(f"{ours}.norm", f"{theirs}.LayerNorm")
    width = values["d_model"]
    for layer in range(values["n_layers"]):
        ours, theirs = f"encoder.layers.{layer}", f"transformer.layer.{layer}"
        names = [f"{theirs}.attention.{part}_lin" for part in "qkv"]
        yield from linear(f"{ours}.self_attention.qkv", *names, rows=3 * (width,))
        yield from linear(f"{ours}.self_attention.output", f"{theirs}.attention.out_lin")
        yield from norm(f"{ours}.self_attention_residual.norm", f"{theirs}.sa_layer_norm")
        yield from linear(f"{ours}.feed_forward.input", f"{theirs}.ffn.lin1")
        yield from linear(f"{ours}.feed_forward.output", f"{theirs}.ffn.lin2")
        yield from norm(f"{ours}.feed_forward_residual.norm", f"{theirs}.output_layer_norm")


def label_entries(values: Values) -> Iterator[Entry]:
    """DistilBertForSequenceClassification: a layer and ReLU on the first position, a classifier."""
    yield from linear("pooler.0", "pre_classifier")
    yield from linear("output", "classifier")


def masked_entries(values: Values) -> Iterator[Entry]:
    """DistilBertForMaskedLM, as `heed.pretrained.bert.masked_entries`."""
    if values["activation"] != "gelu":
        return
    yield from linear("transform", "vocab_transform")
    yield from norm("norm", "vocab_layer_norm")
    yield tensor("vocabulary.output.bias", "vocab_projector.bias")
    if values["tie_embeddings"] == "none":
        yield tensor("vocabulary.output.weight", "vocab_projector.weight")


FAMILY = Family(
    name="distilbert",
    model_types=("distilbert",),
    prefix="distilbert",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("DistilBertForSequenceClassification", label_entries),
        "span": Head("DistilBertForQuestionAnswering", bert.span_entries),
        "masked": Head("DistilBertForMaskedLM", masked_entries),
    },
    bare="DistilBertModel",
    pooling="pooled_relu",
    tokenizers=bert.tokenizers,
    not_needed=(
        *("embeddings.position_ids", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
        *("pre_classifier.", "classifier.", "qa_outputs."),
    ),
)
