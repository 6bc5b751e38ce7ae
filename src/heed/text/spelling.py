"""Names of special tokens that stand in a text are text: a tokenizer is made to spell them out."""

from __future__ import annotations

import re
from collections.abc import Iterable

import tokenizers
from tokenizers import pre_tokenizers


def cut_apart(names: Iterable[str]) -> pre_tokenizers.Split:
    """Cuts a name off behind its first character, wherever it stands, so that no piece is it."""
    heads = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    return pre_tokenizers.Split(tokenizers.Regex(heads), "merged_with_previous")


def spell_out(backend: tokenizers.Tokenizer, names: Iterable[str]) -> None:
    """Keep a tokenizer, in place, from reading any of some tokens in a text.

    `encode_special_tokens` does so for most. But where such a token is a piece of the model too, as
    in a T5's tokenizer.json, a text that says "</s>" is cut into it like into any other piece.

    Args:
        backend: The tokenizer; one that reads none of them stays as it is.
        names: Tokens that it has.
    """
    read = sorted(name for name in names if _is_read(backend, name))
    if read:
        before = [backend.pre_tokenizer] if backend.pre_tokenizer is not None else []
        backend.pre_tokenizer = pre_tokenizers.Sequence([*before, cut_apart(read)])


def _is_read(backend: tokenizers.Tokenizer, name: str) -> bool:
    """Whether a text that is a token's name becomes that token, and not several."""
    encoding = backend.encode(name, add_special_tokens=False)
    number, whole = backend.token_to_id(name), (0, len(name))
    pieces = zip(encoding.ids, encoding.offsets, strict=True)
    return any(piece == number and place == whole for piece, place in pieces)
