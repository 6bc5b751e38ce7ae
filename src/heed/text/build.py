"""The tokenizers that a config asks for: trained and cached, or somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from filelock import FileLock

from heed.errors import UserError, nearest
from heed.text.added_tokens import with_added_tokens
from heed.text.tokenizer import Tokenizer, TokenizerPair
from heed.text.train import ALGORITHMS, train_tokenizer

Side = Literal["source", "target"]
TRAINING_VERSION = 1  # to be raised whenever the same texts would give another tokenizer


def build_tokenizers(
    *,
    algorithm: Literal["bpe", "wordpiece", "unigram", "file", "hub"],
    vocabulary_size: int = 8000,
    lowercase: bool = False,
    joint: bool = True,
    path: str | None = None,
    target_path: str | None = None,
    name: str | None = None,
    target_name: str | None = None,
    revision: str = "main",
    special_tokens: dict[str, str] | None = None,
    add_tokens: Sequence[str] = (),
    texts: Callable[[Side | None], Iterable[str]],
    texts_fingerprint: Callable[[], str],
    cache_dir: str,
) -> TokenizerPair:
    """The tokenizers of what a model reads and writes.

    Args:
        algorithm: How to train one; or `file`, `hub` to take somebody's.
        vocabulary_size: Tokens at most, of each tokenizer that is trained.
        lowercase: Whether a trained tokenizer throws case away.
        joint: Whether both sides share the tokenizer that is trained.
        path: For `file`: a tokenizer.json or a folder with one.
        target_path: For `file`: another one for what is written; None for the same.
        name: For `hub`: a model on huggingface.co.
        target_name: For `hub`: another one for what is written; None for the same.
        revision: For `hub`: branch, tag or commit.
        special_tokens: For `file` and `hub`: role -> token, where the names do not tell.
        add_tokens: Further tokens; see `with_added_tokens`.
        texts: What to train on, asked for only if something has to be trained: the texts of one
            side, or with None of both.
        texts_fingerprint: Digits that change when the texts do; asked for only to train.
        cache_dir: Where trained tokenizers are kept.

    Raises:
        UserError: If something is missing or cannot be had.
    """

    def pair(source: Tokenizer, target: Tokenizer | None = None) -> TokenizerPair:
        return with_added_tokens(TokenizerPair(source, target or source), add_tokens)

    if algorithm == "file":
        given = _required(path, "path", "tokenizer=file", "FILE")
        source = Tokenizer.load(given, special_tokens=special_tokens)
        if target_path is None:
            return pair(source)
        return pair(source, Tokenizer.load(target_path, special_tokens=special_tokens))
    if algorithm == "hub":
        given = _required(name, "name", "tokenizer=hub", "bert-base-cased")
        source = Tokenizer.from_hub(given, revision=revision, special_tokens=special_tokens)
        if target_name is None:
            return pair(source)
        target = Tokenizer.from_hub(target_name, revision=revision, special_tokens=special_tokens)
        return pair(source, target)
    if algorithm not in ALGORITHMS:
        valid = (*ALGORITHMS, "file", "hub")
        raise UserError(
            f"tokenizer.algorithm must be one of {', '.join(valid)}, but is {algorithm!r}",
            nearest(algorithm, valid),
        )

    def trained(side: Side | None) -> Tokenizer:
        return cached_tokenizer(
            algorithm=algorithm,
            vocabulary_size=vocabulary_size,
            lowercase=lowercase,
            texts=lambda: texts(side),
            texts_fingerprint=f"{texts_fingerprint()} {side}",
            cache_dir=cache_dir,
        )

    if joint:
        return pair(trained(None))
    return pair(trained("source"), trained("target"))


def cached_tokenizer(
    *,
    algorithm: Literal["bpe", "wordpiece", "unigram"],
    vocabulary_size: int,
    lowercase: bool,
    texts: Callable[[], Iterable[str]],
    texts_fingerprint: str,
    cache_dir: str,
) -> Tokenizer:
    """A trained tokenizer, from the cache if the same one was trained before.

    Two processes that want the same one train it once: the second waits.

    Args:
        algorithm, vocabulary_size, lowercase: As for `train_tokenizer`.
        texts: What to train on; called only if there is something to train.
        texts_fingerprint: Digits that change when the texts do.
        cache_dir: Where trained tokenizers are kept.

    Raises:
        UserError: As `train_tokenizer`, or if the cache cannot be written.
    """
    settings = [TRAINING_VERSION, tokenizers.__version__, algorithm, vocabulary_size, lowercase]
    key = hashlib.sha256(json.dumps([*settings, texts_fingerprint]).encode()).hexdigest()[:32]
    parent = Path(cache_dir).expanduser() / "tokenizers"
    folder = parent / key
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.is_dir():
                try:
                    return Tokenizer.load(folder)
                except UserError:  # damaged
                    shutil.rmtree(folder)
            tokenizer = train_tokenizer(
                texts(),
                algorithm=algorithm,
                vocabulary_size=vocabulary_size,
                lowercase=lowercase,
            )
            temporary = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=parent))
            try:
                tokenizer.save(temporary)
                os.replace(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return tokenizer
    except OSError as error:
        raise UserError(
            f"the cache of tokenizers must be writable, but {parent} is not: "
            f"{error.strerror or error}",
            "free some room, or give another folder: paths.cache_dir=FOLDER",
        ) from error


def _required(value: str | None, key: str, choice: str, example: str) -> str:
    if not value:
        raise UserError(
            f"tokenizer.{key} must be given for {choice}, but is null",
            f"add tokenizer.{key}={example}",
        )
    return value
