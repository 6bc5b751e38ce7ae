"""A SentencePiece model (Kudo and Richardson 2018) as a tokenizer of the `tokenizers` library.

Its file is a protocol buffer of which little is needed, so it is read here:
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from heed.errors import UserError
from heed.text.spelling import cut_apart

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # kinds of pieces
UNIGRAM = 1  # kind of model
UNKNOWN_COST = 10.0  # how much less likely than any piece a character is that none holds
_MARK = re.compile(r"<.+>|>>.+<<")  # control pieces and Marian's languages
ABSENT = "\ue000"
"""Stands before a piece that is written but never read; taken out of what is read and written."""


class Piece(NamedTuple):
    """A piece, its log probability and its kind."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model's file says.

    Attributes:
        pieces: By number.
        charsmap: How characters are normalised, as the file has it; may be empty.
    """

    pieces: list[Piece]
    charsmap: bytes

    @classmethod
    def read(cls, path: Path) -> SentencePieceModel:
        """Read a file.

        Raises:
            UserError: If it is none, or no Unigram model.
        """
        try:
            return cls._parse(path.read_bytes())
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise UserError(
                f"{path} must be a SentencePiece model, but cannot be read as one: {error}",
                "it may be cut short: fetch it again",
            ) from error

    @classmethod
    def _parse(cls, content: bytes) -> SentencePieceModel:
        pieces, charsmap, kind = [], b"", UNIGRAM
        for field, value in _fields(content):
            if field == 1:
                piece = dict(_fields(value))
                score = struct.unpack("<f", piece.get(2, bytes(4)))[0]
                pieces.append(Piece(piece[1].decode(), score, piece.get(3, NORMAL)))
            elif field == 2:
                kind = dict(_fields(value)).get(3, UNIGRAM)
            elif field == 3:
                charsmap = dict(_fields(value)).get(2, b"")
        if kind != UNIGRAM:
            raise ValueError("it is not a Unigram model")
        if not pieces:
            raise ValueError("it has no pieces")
        return cls(pieces, charsmap)

    @property
    def unknown(self) -> str:
        """The piece that stands for what no piece is."""
        return next((piece.text for piece in self.pieces if piece.kind == UNKNOWN), "<unk>")


def unigram_tokenizer(
    model: SentencePieceModel, vocabulary: Sequence[str] | None = None
) -> tokenizers.Tokenizer:
    """A tokenizer that cuts texts as a SentencePiece model does.

    Args:
        model: The model.
        vocabulary: Pieces by id, where ids are not the model's numbers. Of those that the model has
            not, single characters are read where they would be unknown, others are written only;
            what has no id is never read.
    """
    known = {piece.text: piece for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED)}
    least = min((piece.score for piece in known.values()), default=-1.0)
    special = {p.text for p in model.pieces if p.kind in (UNKNOWN, CONTROL)}
    names = [piece.text for piece in model.pieces] if vocabulary is None else list(vocabulary)
    scored, controls = [], []
    for name in names:
        if name in known:
            scored.append((name, known[name].score))
        elif name in special or _MARK.fullmatch(name):
            scored.append((name, least))
            controls.append(name)
        elif len(name) == 1:
            scored.append((name, least - UNKNOWN_COST))
        else:
            scored.append((ABSENT + name, least))
    backend = tokenizers.Tokenizer(Unigram(scored, unk_id=names.index(model.unknown)))
    before: list[Any] = [normalizers.Replace(ABSENT, "")]
    if model.charsmap:
        before.append(normalizers.Precompiled(model.charsmap))
    backend.normalizer = normalizers.Sequence(before)
    words: list[Any] = [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
    ]
    if controls:  # a text that says "</s>" is spelt out
        words.append(cut_apart(controls))
    backend.pre_tokenizer = pre_tokenizers.Sequence(words)
    backend.decoder = decoders.Sequence(
        [decoders.Replace(ABSENT, ""), decoders.Metaspace(prepend_scheme="always")]
    )
    return backend


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of the fields of a protocol buffer's message."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _number(message, at)
            yield field, value
            continue
        if wire == 2:
            length, at = _number(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if at + length > len(message):
            raise ValueError("it ends too early")
        yield field, message[at : at + length]
        at += length


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
