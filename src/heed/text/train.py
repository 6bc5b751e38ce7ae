"""Train a tokenizer from text: byte-level BPE, WordPiece, Unigram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from heed.errors import UserError, nearest
from heed.text.special import OWN_TOKENS
from heed.text.tokenizer import Tokenizer
from heed.text.unigram import learn_pieces
from heed.text.words import count_words

Algorithm = Literal["bpe", "wordpiece", "unigram"]
ALGORITHMS = ("bpe", "wordpiece", "unigram")
SPECIAL = list(OWN_TOKENS.values())
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())  # a character for each of the 256 bytes
MOST_CHARACTERS = 1000  # of WordPiece, as BERT's trainers have it; rarer ones become <unk>
SEEDS_A_PIECE = 4  # Unigram chooses among the pieces of a BPE vocabulary so much larger


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
    least = len(OWN_TOKENS) + (93 if algorithm == "wordpiece" else len(ALPHABET))
    if vocabulary_size < least:
        raise UserError(
            f"tokenizer.vocabulary_size must be at least {least} for {algorithm} (the special "
            f"tokens and its alphabet), but is {vocabulary_size}",
            "try tokenizer.vocabulary_size=8000",
        )
    first, every = _peek(texts)
    if not first:
        raise UserError("a tokenizer must be trained on text, but the training split has none")
    train = {"bpe": _train_bpe, "wordpiece": _train_wordpiece, "unigram": _train_unigram}[algorithm]
    backend = train(every, vocabulary_size, lowercase)
    return Tokenizer(backend, special_tokens=OWN_TOKENS)


def _peek(texts: Iterable[str]) -> tuple[list[str], Iterator[str]]:
    """The first text, if there is one, and all of them."""
    iterator = iter(texts)
    first = list(islice(iterator, 1))
    return first, chain(first, iterator)


def _train_bpe(texts: Iterable[str], size: int, lowercase: bool) -> tokenizers.Tokenizer:
    backend = _on_bytes(tokenizers.Tokenizer(models.BPE()), lowercase)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _train_unigram(texts: Iterable[str], size: int, lowercase: bool) -> tokenizers.Tokenizer:
    words = count_words(texts, _on_bytes(tokenizers.Tokenizer(models.Unigram()), lowercase))
    seeder = tokenizers.Tokenizer(models.BPE())
    seeder.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # words on bytes have no spaces left
    trainer = trainers.BpeTrainer(
        vocab_size=SEEDS_A_PIECE * size, initial_alphabet=ALPHABET, show_progress=False
    )
    seeder.train_from_iterator(_spell_out(words), trainer)
    seeds = [token for token, _ in sorted(seeder.get_vocab().items(), key=lambda item: item[1])]
    pieces = learn_pieces(words, seeds, ALPHABET, size=size - len(SPECIAL))
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces
    model = models.Unigram(vocabulary, unk_id=SPECIAL.index(OWN_TOKENS["unk"]))
    return _with_special_tokens(_on_bytes(tokenizers.Tokenizer(model), lowercase))


def _train_wordpiece(texts: Iterable[str], size: int, lowercase: bool) -> tokenizers.Tokenizer:
    def frame(model: models.WordPiece | models.BPE) -> tokenizers.Tokenizer:
        backend = tokenizers.Tokenizer(model)
        backend.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        apostrophe = tokenizers.Regex(r"(?<=\p{L}) ' (?=(s|t|m|d|re|ve|ll)\b)")
        backend.decoder = decoders.Sequence(
            [decoders.WordPiece(), decoders.Fuse(), decoders.Replace(apostrophe, "'")]
        )
        return backend

    words = count_words(texts, frame(models.WordPiece()))
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    ranked = sorted(characters, key=lambda one: (-characters[one], one))
    alphabet = sorted(ranked[: min(MOST_CHARACTERS, (size - len(SPECIAL)) // 3)])
    known = set(alphabet)
    spelt = {word: count for word, count in words.items() if known.issuperset(word)}
    # Ids decide between pairs that are equally frequent, and the library would number the
    # characters inside words in random order; naming them first, in order, makes it choose alike.
    inside = sorted({character for word in spelt for character in word[1:]})
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *alphabet, *(f"##{one}" for one in inside)],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    scratch = frame(models.BPE(continuing_subword_prefix="##"))
    scratch.normalizer = None  # the words are normalized already
    scratch.train_from_iterator(_spell_out(spelt), trainer)
    model = models.WordPiece(scratch.get_vocab(), unk_token=OWN_TOKENS["unk"])
    return _with_special_tokens(frame(model))


def _on_bytes(backend: tokenizers.Tokenizer, lowercase: bool) -> tokenizers.Tokenizer:
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _with_special_tokens(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    backend.add_special_tokens(SPECIAL)
    return backend


def _spell_out(words: dict[str, int]) -> Iterator[str]:
    """Text in which each word stands as often as it was counted."""
    for word, count in words.items():
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))
