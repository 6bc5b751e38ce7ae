"""Writes a SentencePiece model as its library does, for tests that must not train one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
SPECIAL = (("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN))


def write_model(
    path: Path,
    pieces: Sequence[str],
    *,
    special: Sequence[tuple[str, float, int]] = SPECIAL,
    model_type: int = 1,
) -> None:
    """A Unigram model of some special pieces and of others, the likeliest first."""
    scored = [*special, *((piece, -1.0 - 0.1 * i, NORMAL) for i, piece in enumerate(pieces))]
    content = b"".join(
        _part(
            1, _part(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([k])
        )
        for text, score, k in scored
    )
    path.write_bytes(content + _part(2, b"\x18" + bytes([model_type])))


def _part(field: int, content: bytes) -> bytes:
    """A field of bytes, at most 16,383 of them."""
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([field << 3 | 2]) + size + content
