"""The history in wandb's own files, which a resumed run has to cut.

A `.wandb` file is a log in LevelDB's format (github.com/google/leveldb/blob/main/doc/log_format.md)
after a header of seven bytes: blocks of 32 KiB, in them chunks with a checksum, a length and a
kind; a record is one chunk, or a first, some middle and a last one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_MAGIC = b":W&B"
_HEADER = 7
_BLOCK = 32768
_CHUNK = struct.Struct("<IHB")
_WHOLE, _FIRST, _LAST = 1, 2, 4


def records(path: Path) -> Iterator[tuple[int, Any]]:
    """The place in the file and the content of each whole record (wandb's `Record` message)."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        return
    place, start, parts = _HEADER, _HEADER, b""
    while place + _CHUNK.size <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _CHUNK.size:
            place += left
            continue
        _, length, kind = _CHUNK.unpack_from(data, place)
        if kind in (_WHOLE, _FIRST):
            start, parts = place, b""
        end = place + _CHUNK.size + length
        if kind == 0 or end > len(data):
            return  # the writer was killed
        parts += data[place + _CHUNK.size : end]
        place = end
        if kind in (_WHOLE, _LAST):
            yield start, Record.FromString(parts)


def cut_history(segments: Sequence[Path], rows: int) -> int:
    """Keep the first rows of a history that goes through several offline sessions of one run.

    Files that have been uploaded stay as they are.

    Args:
        segments: The sessions' folders, in order.
        rows: How many rows to keep of all of them together.

    Returns:
        How many of these there are.
    """
    left = rows
    for folder in segments:
        for file in sorted(folder.glob("*.wandb")):
            places = [place for place, record in records(file) if record.HasField("history")]
            if len(places) > left and not file.with_suffix(".wandb.synced").exists():
                os.truncate(file, places[left])
            left = max(0, left - len(places))
    return rows - left
