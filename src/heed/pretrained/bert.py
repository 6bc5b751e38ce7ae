"""BERT (Devlin et al. 2019), and MiniLM (Wang et al. 2020), which is a small one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from heed.pretrained.checkpoint import Checkpoint
    from heed.text.template import Template
    from heed.text.tokenizer import TokenizerPair


def values(config: Config) -> dict[str, object]:
    """The Transformer of a BertConfig."""
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise unsupported("is_decoder", True, "false")
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise unsupported("position_embedding_type", kind, "absolute")
    vocabulary, width, heads, inner, layers, longest = required(
        config,
        *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
        *("num_hidden_layers", "max_position_embeddings"),
    )
    return {
        "shape": "encoder",
        "vocabulary_size": vocabulary,
        "d_model": width,
        "n_heads": heads,
        "d_feed_forward": inner,
        "n_layers": layers,
        "max_length": longest,
        "n_segments": config.get("type_vocab_size", 2),
        "norm": "layer_norm",
        "norm_position": "post",
        "norm_epsilon": config.get("layer_norm_eps", 1e-12),
        "embedding_norm": True,
        "positions": "learned",
        "scale_embeddings": False,
        "activation": activation(config),
        "bias": True,
        "tie_embeddings": "all" if config.get("tie_word_embeddings", True) else "none",
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
    }


def config(values: Values) -> Config:
    """The BertConfig of a Transformer."""
    return {
        "model_type": "bert",
        "vocab_size": values["vocabulary_size"],
        "hidden_size": values["d_model"],
        "num_attention_heads": values["n_heads"],
        "intermediate_size": values["d_feed_forward"],
        "num_hidden_layers": values["n_layers"],
        "max_position_embeddings": values["max_length"],
        "type_vocab_size": values["n_segments"],
        "layer_norm_eps": values["norm_epsilon"],
        "hidden_act": their_activation(values),
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "hidden_dropout_prob": values["dropout"],
        "attention_probs_dropout_prob": values["attention_dropout"],
    }


def entries(values: Values, skipped_positions: int = 0) -> Iterator[Entry]:
    """The tensors of a BertModel, without its pooler."""
    yield from embedding_entries(skipped_positions)
    width = values["d_model"]
    for layer in range(values["n_layers"]):
        ours, theirs = f"encoder.layers.{layer}", f"encoder.layer.{layer}"
        attention = f"{theirs}.attention"
        names = [f"{attention}.self.{part}" for part in ("query", "key", "value")]
        yield from linear(f"{ours}.self_attention.qkv", *names, rows=3 * (width,))
        yield from linear(f"{ours}.self_attention.output", f"{attention}.output.dense")
        yield from norm(f"{ours}.self_attention_residual.norm", f"{attention}.output.LayerNorm")
        yield from linear(f"{ours}.feed_forward.input", f"{theirs}.intermediate.dense")
        yield from linear(f"{ours}.feed_forward.output", f"{theirs}.output.dense")
        yield from norm(f"{ours}.feed_forward_residual.norm", f"{theirs}.output.LayerNorm")


def embedding_entries(skipped_positions: int = 0) -> Iterator[Entry]:
    """The tables that BERT and its kin have."""
    ours, theirs = "encoder.embeddings", "embeddings"
    yield tensor(f"{ours}.tokens.weight", f"{theirs}.word_embeddings.weight")
    yield tensor(
        f"{ours}.positions.weight",
        f"{theirs}.position_embeddings.weight",
        Change(skipped_rows=skipped_positions),
    )
    yield tensor(f"{ours}.segments.weight", f"{theirs}.token_type_embeddings.weight")
    yield from norm(f"{ours}.norm", f"{theirs}.LayerNorm")


def label_entries(values: Values) -> Iterator[Entry]:
    """BertForSequenceClassification: a layer and tanh on the first position, and a classifier."""
    yield from linear("pooler.0", "pooler.dense")
    yield from linear("output", "classifier")


def masked_entries(values: Values) -> Iterator[Entry]:
    """BertForMaskedLM, whose layer has the activation of the blocks, and ours GELU."""
    if values["activation"] != "gelu":
        return
    yield from linear("transform", "cls.predictions.transform.dense")
    yield from norm("norm", "cls.predictions.transform.LayerNorm")
    yield tensor("vocabulary.output.bias", "cls.predictions.bias")
    if values["tie_embeddings"] == "none":  # with a bias beside the one that then means nothing
        yield from linear("vocabulary.output", "cls.predictions.decoder")


def span_entries(values: Values) -> Iterator[Entry]:
    """BertForQuestionAnswering."""
    yield from linear("output", "qa_outputs")


def tokenizers(
    checkpoint: Checkpoint, template: Template, special_tokens: dict[str, str]
) -> TokenizerPair | None:
    """WordPiece from a vocab.txt, as older checkpoints have it."""
    path = checkpoint.find("vocab.txt")
    if path is None:
        return None
    from tokenizers import BertWordPieceTokenizer

    from heed.text.tokenizer import Tokenizer, TokenizerPair

    settings = checkpoint.read_json("tokenizer_config.json") or {}
    lowercase = bool(settings.get("do_lower_case", True))
    backend = BertWordPieceTokenizer(
        str(path), lowercase=lowercase, strip_accents=settings.get("strip_accents")
    )
    one = Tokenizer(
        backend._tokenizer, special_tokens=special_tokens, template=template, name=str(path)
    )
    return TokenizerPair(one, one)


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    prefix="bert",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("BertForSequenceClassification", label_entries),
        "span": Head("BertForQuestionAnswering", span_entries),
        "masked": Head("BertForMaskedLM", masked_entries),
    },
    bare="BertModel",
    pooling="pooled",
    tokenizers=tokenizers,
    not_needed=("embeddings.position_ids", "pooler.", "cls.", "classifier.", "qa_outputs."),
    within=("pooler.",),
)
