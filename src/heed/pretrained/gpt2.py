"""GPT-2 (Radford et al. 2019), and DistilGPT-2, which is one of six layers."""

from __future__ import annotations

from collections.abc import Iterator

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
from heed.pretrained.mapping import Entry, linear, norm, tensor

PLAIN = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}
"""What attention scores are divided by; nobody has trained the other kinds."""


def values(config: Config) -> dict[str, object]:
    """The Transformer of a GPT2Config."""
    for key, usual in {**PLAIN, "add_cross_attention": False}.items():
        if config.get(key, usual) != usual:
            raise unsupported(key, config[key], str(usual).lower())
    vocabulary, width, heads, layers, longest = required(
        config, "vocab_size", "n_embd", "n_head", "n_layer", "n_positions"
    )
    return {
        "shape": "decoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "d_feed_forward": config.get("n_inner") or 4 * width,
        "n_layers": layers,
        "max_length": longest,
        "norm": "layer_norm",
        "norm_position": "pre",
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-5),
        "positions": "learned",
        "scale_embeddings": False,
        "activation": activation(config, "activation_function", "gelu_new"),
        "bias": True,
        "tie_embeddings": "all" if config.get("tie_word_embeddings", True) else "none",
        "dropout": config.get("resid_pdrop", 0.1),
        "attention_dropout": config.get("attn_pdrop", 0.1),
        "embedding_dropout": config.get("embd_pdrop", 0.1),
    }


def config(values: Values) -> Config:
    """The GPT2Config of a Transformer."""
    embedding_dropout = values.get("embedding_dropout")
    return {
        "model_type": "gpt2",
        "vocab_size": values["vocabulary_size"],
        "n_embd": values["d_model"],
        "n_head": values["n_heads"],
        "n_inner": values["d_feed_forward"],
        "n_layer": values["n_layers"],
        "n_positions": values["max_length"],
        "layer_norm_epsilon": values["norm_epsilon"],
        "activation_function": their_activation(values),
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "resid_pdrop": values["dropout"],
        "attn_pdrop": values["attention_dropout"],
        "embd_pdrop": values["dropout"] if embedding_dropout is None else embedding_dropout,
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a GPT2Model, whose matrices are (inputs, outputs)."""
    yield tensor("decoder.embeddings.tokens.weight", "wte.weight")
    yield tensor("decoder.embeddings.positions.weight", "wpe.weight")
    for layer in range(values["n_layers"]):
        ours, theirs = f"decoder.layers.{layer}", f"h.{layer}"
        yield from norm(f"{ours}.self_attention_residual.norm", f"{theirs}.ln_1")
        yield from norm(f"{ours}.feed_forward_residual.norm", f"{theirs}.ln_2")
        for part, name in (
            ("self_attention.qkv", "attn.c_attn"),
            ("self_attention.output", "attn.c_proj"),
            ("feed_forward.input", "mlp.c_fc"),
            ("feed_forward.output", "mlp.c_proj"),
        ):
            yield from linear(f"{ours}.{part}", f"{theirs}.{name}", transposed=True)
    yield from norm("decoder.norm", "ln_f")


def vocabulary_entries(values: Values) -> Iterator[Entry]:
    """GPT2LMHeadModel: its own only where it shares the embeddings with nobody."""
    if values["tie_embeddings"] == "none":
        yield from linear("output", "lm_head", bias=False)


def label_entries(values: Values) -> Iterator[Entry]:
    """GPT2ForSequenceClassification: the last token."""
    yield from linear("output", "score", bias=False)


def span_entries(values: Values) -> Iterator[Entry]:
    """GPT2ForQuestionAnswering."""
    yield from linear("output", "qa_outputs")


FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    prefix="transformer",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("GPT2ForSequenceClassification", label_entries),
        "span": Head("GPT2ForQuestionAnswering", span_entries),
        "vocabulary": Head("GPT2LMHeadModel", vocabulary_entries),
    },
    bare="GPT2Model",
    template={"text": ["A"]},
    pooling="last_unbiased",
    tokenizers=byte_level_tokenizers,
    not_needed=("h.*.attn.bias", "h.*.attn.masked_bias", "lm_head.", "score.", "qa_outputs."),
)
