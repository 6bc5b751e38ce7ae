"""What is known of the data of a config without reading it: caches that are there, and samples."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.assemble import build_corpus
from heed.commands.build import TARGET, build
from heed.commands.signatures import signature_of
from heed.errors import UserError

if TYPE_CHECKING:
    from heed.data.corpus import Corpus
    from heed.text.tokenizer import TokenizerPair

SAMPLE = 256
TOKENS_A_WORD = 1.3  # of a tokenizer of some thousand tokens, punctuation included


class NotPrepared(Exception):
    """Something would have to be read, trained or encoded first."""


@dataclass
class KnownData:
    """The training data in numbers.

    Args:
        rows: Rows of an epoch; None if unknown.
        batches: Micro-batches of an epoch; None if unknown.
        lengths: Mean tokens of a row by stream ("source", "target" or one); empty if unknown.
        tokenizers: The tokenizers, if they can be had at once.
        exact: Whether the numbers are counted, not estimated.
    """

    rows: int | None = None
    batches: int | None = None
    lengths: tuple[float, ...] = ()
    tokenizers: TokenizerPair | None = None
    exact: bool = False


def known_data(config: dict[str, Any]) -> KnownData:
    """What the caches know of a config's training data; else an estimate for built-in corpora."""
    source = config["data"].get("source") or {}
    try:
        tokenizers = _tokenizers(config, _corpus(config))
    except (NotPrepared, UserError):
        tokenizers = None
    try:
        return _counted(config, tokenizers)
    except (NotPrepared, UserError):
        pass
    if str(source.get(TARGET, "")).endswith(".BuiltinSource"):
        return _estimated(config, source, tokenizers)
    return KnownData(rows=config["data"].get("limit_examples"), tokenizers=tokenizers)


def _corpus(config: dict[str, Any]) -> Corpus:
    source = config["data"].get("source") or {}
    if "hub" in source and not source.get("path"):
        raise NotPrepared  # even a fingerprint would ask the hub
    return build_corpus(config)


def _tokenizers(config: dict[str, Any], corpus: Corpus) -> TokenizerPair:
    from heed.commands.assemble import build_tokenizers

    def not_now(side: Any) -> Any:
        raise NotPrepared

    if config["tokenizer"].get("algorithm") == "hub":
        raise NotPrepared
    return build_tokenizers(config, corpus, texts=not_now)


def _counted(config: dict[str, Any], tokenizers: TokenizerPair | None) -> KnownData:
    """Numbers from the token cache."""
    from heed.data.cache import is_whole, rows_fingerprint
    from heed.data.encoded_rows import EncodedRows
    from heed.data.preparation import digest
    from heed.data.sampler import TokenBudgetSampler

    data, node = config["data"], config["task"]["preparation"]
    corpus = _corpus(config)
    fingerprint = corpus.fingerprint("train")
    if tokenizers is None or not (corpus.cache_dir / fingerprint[:32]).is_dir():
        raise NotPrepared
    parts: dict[str, Any] = {
        "tokenizer": tokenizers.source,
        "source_tokenizer": tokenizers.source,
        "target_tokenizer": tokenizers.target,
        "shape": config["model"].get("shape"),
    }
    takes = signature_of(node[TARGET], "task.preparation").parameters
    if "labels" in takes:
        parts["labels"] = corpus.labels()
    preparation = build(
        node, key="task.preparation", **{k: part for k, part in parts.items() if k in takes}
    )
    key = rows_fingerprint(
        digest([fingerprint, data["limit_examples"]]), preparation, training=True
    )
    folder = Path(data["cache_dir"]).expanduser() / "encoded" / key
    if not is_whole(folder):
        raise NotPrepared
    rows = EncodedRows(folder)
    sampler = TokenBudgetSampler(
        lengths=rows.lengths,
        max_tokens=data["max_tokens"],
        batch_size=data["batch_size"],
        seed=config["seed"],
    )
    means = tuple(float(mean) for mean in rows.lengths.mean(axis=0))
    if "prefix" in preparation.scalar_columns:  # what is read and what is written share a row
        read = float(rows.column("prefix").mean())
        means = (read, means[0] - read)
    return KnownData(len(rows), len(sampler), means, tokenizers, exact=True)


def _estimated(
    config: dict[str, Any], source: dict[str, Any], tokenizers: TokenizerPair | None
) -> KnownData:
    """Numbers from a few generated rows, their words counted."""
    from itertools import islice

    from heed.data.builtin.generate import generate

    data = config["data"]
    count = min(source["train_size"], data.get("limit_examples") or source["train_size"])
    sample = list(
        islice(generate(source["corpus"], "train", size=SAMPLE, seed=source["seed"]), SAMPLE)
    )
    writes = bool(config["task"].get("validation_decoder"))
    streams = zip(*(_texts(row, writes=writes) for row in sample), strict=True)
    words = [sum(len(re.findall(r"\w+|[^\w\s]", text)) for text in texts) for texts in streams]
    lengths = tuple(1 + TOKENS_A_WORD * total / len(sample) for total in words)
    longest = (config["task"].get("preparation") or {}).get("max_length")
    if (config["task"].get("preparation") or {}).get("packed") and longest:
        count = max(1, round(count * sum(lengths) / longest))
        lengths = (float(longest),)
    batches = count / data["batch_size"] if data.get("batch_size") else 0.0
    if data.get("max_tokens"):
        batches = max(batches, count * sum(lengths) / data["max_tokens"])
    return KnownData(count, max(1, round(batches)), lengths, tokenizers)


def _texts(row: dict[str, Any], *, writes: bool) -> tuple[str, ...]:
    """What is read and what is written of a built-in row, one text a stream."""
    if "source" in row:
        return row["source"], row["target"]
    if "text" in row:
        return (row["text"],)
    read = f"{row['question']} {row['context']}"
    return (read, row["answers"][0] if row["answers"] else "") if writes else (read,)
