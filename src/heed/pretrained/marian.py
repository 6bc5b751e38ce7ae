"""Marian (Junczys-Dowmunt et al. 2018), as the translation models of OPUS-MT (Tiedemann and
Thottingal 2020): Vaswani et al. (2017) with a bias of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heed.pretrained import bart
from heed.pretrained.family import Config, Family, Head, Values, unsupported
from heed.pretrained.mapping import Entry, tensor
from heed.pretrained.sentencepiece import marian_tokenizers


def values(config: Config) -> dict[str, Any]:
    """The Transformer of a MarianConfig."""
    bart.expect(config, {**bart.AS_WE_BUILD, "normalize_embedding": False})
    start, pad = config.get("decoder_start_token_id"), config.get("pad_token_id")
    if start is not None and start != pad:
        raise unsupported("decoder_start_token_id", start, f"pad_token_id ({pad})")
    shared = config.get("share_encoder_decoder_embeddings", True)
    tied = config.get("tie_word_embeddings", True)
    if shared and not tied:
        raise unsupported("tie_word_embeddings", False, "true")
    target = config.get("decoder_vocab_size")
    return {
        **bart.shared_values(config),
        "target_vocabulary_size": None if shared or target == config["vocab_size"] else target,
        "positions": "sinusoidal_halves",
        "tie_embeddings": "all" if shared else "decoder" if tied else "none",
    }


def config(values: Values) -> Config:
    """The MarianConfig of a Transformer; padding is the last token, as Marian's makers have it."""
    vocabulary = values["vocabulary_size"]
    target = values["target_vocabulary_size"] or vocabulary
    return {
        **bart.shared_config(values),
        "model_type": "marian",
        "decoder_vocab_size": target,
        "normalize_embedding": False,
        "share_encoder_decoder_embeddings": values["tie_embeddings"] == "all",
        "tie_word_embeddings": values["tie_embeddings"] != "none",
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": target - 1,
        "decoder_start_token_id": target - 1,
    }


def entries(values: Values) -> Iterator[Entry]:
    """The tensors of a MarianModel, or of its encoder."""
    tied = values["tie_embeddings"]
    if tied == "all":
        yield bart.shared_table()
    else:
        yield tensor("encoder.embeddings.tokens.weight", "encoder.embed_tokens.weight")
        if values["shape"] != "encoder":
            yield tensor(
                "decoder.embeddings.tokens.weight",
                "decoder.embed_tokens.weight",
                also=("lm_head.weight",) if tied == "decoder" else (),
            )
    yield from bart.layer_entries(values)


FAMILY = Family(
    name="marian",
    model_types=("marian",),
    prefix="model",
    values=values,
    config=config,
    entries=entries,
    heads={"vocabulary": Head("MarianMTModel", bart.vocabulary_entries)},
    bare="MarianModel",
    template={
        "text": ["A", "eos"],
        "pair": ["A", "eos", "B", "eos"],
        "source": ["A", "eos"],
        "target": ["bos", "A", "eos"],
    },
    special_tokens={"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "bos": "<pad>"},
    tokenizers=marian_tokenizers,
    not_needed=(
        *bart.NOT_NEEDED,
        *("encoder.embed_positions.", "decoder.embed_positions."),  # computed
    ),
)
