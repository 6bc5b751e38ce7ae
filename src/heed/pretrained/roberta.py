"""RoBERTa (Liu et al. 2019), and those of its build: XLM-RoBERTa, CamemBERT."""

from __future__ import annotations

from collections.abc import Iterator

from heed.pretrained import bert
from heed.pretrained.byte_level import byte_level_tokenizers
from heed.pretrained.family import Config, Family, Head, Values, unsupported
from heed.pretrained.mapping import Entry, linear, norm, tensor

PADDING = 1
"""Its positions are counted from the one after the id of its padding."""


def values(config: Config) -> dict[str, object]:
    """The Transformer of a RobertaConfig: BERT's, without the positions that no token has."""
    padding = config.get("pad_token_id", PADDING)
    if padding != PADDING:
        raise unsupported("pad_token_id", padding, str(PADDING))
    found = bert.values(config)
    longest = found["max_length"]
    assert isinstance(longest, int)
    return {**found, "max_length": longest - PADDING - 1}


def config(values: Values) -> Config:
    """The RobertaConfig of a Transformer."""
    return {
        **bert.config(values),
        "model_type": "roberta",
        "max_position_embeddings": values["max_length"] + PADDING + 1,
        "pad_token_id": PADDING,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a RobertaModel, without its pooler."""
    return bert.entries(values, skipped_positions=PADDING + 1)


def label_entries(values: Values) -> Iterator[Entry]:
    """RobertaForSequenceClassification: a layer and tanh on the first position, a classifier."""
    yield from linear("pooler.0", "classifier.dense")
    yield from linear("output", "classifier.out_proj")


def masked_entries(values: Values) -> Iterator[Entry]:
    """RobertaForMaskedLM."""
    yield from linear("transform", "lm_head.dense")
    yield from norm("norm", "lm_head.layer_norm")
    yield tensor("vocabulary.output.bias", "lm_head.bias")
    if values["tie_embeddings"] == "none":  # with a bias beside the one that then means nothing
        yield from linear("vocabulary.output", "lm_head.decoder")


FAMILY = Family(
    name="roberta",
    model_types=("roberta", "xlm-roberta", "camembert"),
    prefix="roberta",
    values=values,
    config=config,
    entries=entries,
    heads={
        "label": Head("RobertaForSequenceClassification", label_entries),
        "span": Head("RobertaForQuestionAnswering", bert.span_entries),
        "masked": Head("RobertaForMaskedLM", masked_entries),
    },
    bare="RobertaModel",
    template={"pair": ["cls", "A", "sep", "sep", "B", "eos"]},
    pooling="pooled",
    tokenizers=byte_level_tokenizers,
    not_needed=("embeddings.position_ids", "pooler.", "lm_head.", "classifier.", "qa_outputs."),
)
