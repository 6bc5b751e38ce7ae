"""Train a tokenizer from text: byte-level BPE, WordPiece, Unigram."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from heed.errors import UserError, nearest
from heed.text.special import OWN_TOKENS
from heed.text.tokenizer import Tokenizer

Algorithm = Literal["bpe", "wordpiece", "unigram"]
ALGORITHMS = ("bpe", "wordpiece", "unigram")
BYTES = 256


def train_tokenizer(
    texts: Iterable[str],
    *,
    algorithm: Algorithm,
    vocabulary_size: int,
    lowercase: bool = False,
) -> Tokenizer:
    """Learn a vocabulary from texts. The same texts in the same order give the same tokenizer.

    BPE (Sennrich et al. 2016) and Unigram (Kudo 2018) work on bytes, so they know every text and
    give it back exactly, spaces and all (lowercased if so asked). WordPiece (Schuster and Nakajima
    2012, as BERT uses it) splits at spaces and punctuation, writes a word it cannot spell as <unk>,
    and its decoding puts spaces where English has them.

    Args:
        texts: What to learn from; read once.
        algorithm: How.
        vocabulary_size: Tokens at most, the seven special ones included; few texts give fewer.
        lowercase: Whether case is thrown away.

    Raises:
        UserError: If the vocabulary cannot hold the alphabet, or there is no text.
    """
    if algorithm not in ALGORITHMS:
        raise UserError(
            f"tokenizer.algorithm must be one of {', '.join(ALGORITHMS)}, but is {algorithm!r}",
            nearest(algorithm, ALGORITHMS),
        )
    least = len(OWN_TOKENS) + (1 if algorithm == "wordpiece" else BYTES)
    if vocabulary_size < least:
        raise UserError(
            f"tokenizer.vocabulary_size must be at least {least} for {algorithm} (the special "
            f"tokens and its alphabet), but is {vocabulary_size}",
            "try tokenizer.vocabulary_size=8000",
        )
    first, batches = _batches(texts)
    if not first:
        raise UserError("a tokenizer must be trained on text, but the training split has none")
    backend, trainer = _backend(algorithm, vocabulary_size, lowercase)
    backend.train_from_iterator(batches, trainer)
    return Tokenizer(backend, special_tokens=OWN_TOKENS)


def _batches(texts: Iterable[str], size: int = 1000) -> tuple[list[str], Iterator[list[str]]]:
    """The first batch, and all of them."""
    iterator = iter(texts)
    first = list(islice(iterator, size))

    def every() -> Iterator[list[str]]:
        batch = first
        while batch:
            yield batch
            batch = list(islice(iterator, size))

    return first, every()


def _backend(
    algorithm: Algorithm, vocabulary_size: int, lowercase: bool
) -> tuple[tokenizers.Tokenizer, Any]:
    common = {
        "vocab_size": vocabulary_size,
        "special_tokens": list(OWN_TOKENS.values()),
        "show_progress": False,
    }
    if algorithm == "wordpiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token=OWN_TOKENS["unk"]))
        backend.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        return backend, trainers.WordPieceTrainer(**common)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer: Any
    if algorithm == "bpe":
        backend = tokenizers.Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **common)
    else:
        backend = tokenizers.Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            initial_alphabet=alphabet, unk_token=OWN_TOKENS["unk"], **common
        )
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend, trainer
