"""A checksum inside a ZIP archive: SHA-256 of all that comes before it, as the archive's comment.

A file that `torch.save` writes is a ZIP archive, and ends with its end-of-central-directory record
(APPNOTE.TXT 4.3.16): 22 bytes, the last two of which are the length of a comment that follows. A
checksum there cannot be lost as a second file can, and every reader of the archive passes it over.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from pathlib import Path
from typing import IO, Any

END = struct.Struct("<4s16sH")  # signature, what is of no matter here, length of the comment
SIGNATURE = b"PK\x05\x06"
NAME = b"sha256:"
DIGEST_BYTES = 64  # in hexadecimal
COMMENT_BYTES = len(NAME) + DIGEST_BYTES
_CHUNK_BYTES = 1 << 22


class ChecksumWriter:
    """Passes what a writer of a ZIP archive writes on to a file, and a checksum in its comment.

    The checksum is made while the file is written: nothing is read again. The last 22 bytes are
    held back, because the length of the comment stands in them.

    Args:
        file: A file open for writing bytes. What is written must be one archive without a comment.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._held = b""

    def write(self, data: Any) -> int:
        """Write bytes, all but the last 22 so far."""
        view = memoryview(data).cast("B")
        if len(view) < END.size:
            view = memoryview(self._held + view)
        else:
            self._pass_on(self._held)
        cut = max(0, len(view) - END.size)
        self._pass_on(view[:cut])
        self._held = bytes(view[cut:])
        return len(data)

    def flush(self) -> None:
        """Nothing: whoever opened the file flushes it."""

    def finish(self) -> None:
        """Write the end of the archive, with the checksum."""
        signature, middle, length = END.unpack(self._held)
        assert signature == SIGNATURE, "what was written is no ZIP archive"
        assert length == 0, "the archive has a comment already"
        self._pass_on(END.pack(signature, middle, COMMENT_BYTES) + NAME)
        self._file.write(self._hash.hexdigest().encode("ascii"))

    def _pass_on(self, data: bytes | memoryview) -> None:
        if len(data) < _CHUNK_BYTES:
            self._file.write(data)
            self._hash.update(data)
            return
        summing = threading.Thread(target=self._hash.update, args=(data,))  # beside the writing
        summing.start()
        try:
            self._file.write(data)
        finally:
            summing.join()


def checksum_fault(file: IO[bytes]) -> str | None:
    """What speaks against an archive by its checksum; None if nothing does.

    An archive without a comment has no checksum, and none is missed.

    Args:
        file: The archive, open for reading bytes. It is left at its beginning.

    Returns:
        None, or the reason in words.
    """
    size = file.seek(0, os.SEEK_END)
    if _ending(file, size, END.size) == (SIGNATURE, 0):
        file.seek(0)
        return None
    if _ending(file, size, END.size + COMMENT_BYTES) != (SIGNATURE, COMMENT_BYTES):
        file.seek(0)
        return "it does not end as a checkpoint does; it may have been cut off"
    file.seek(0)
    digest, rest = hashlib.sha256(), size - DIGEST_BYTES
    while rest:
        chunk = file.read(min(rest, _CHUNK_BYTES))
        if not chunk:
            return "it became shorter while it was read"
        digest.update(chunk)
        rest -= len(chunk)
    written = file.read(DIGEST_BYTES)
    file.seek(0)
    if written != digest.hexdigest().encode("ascii"):
        return "it is not what was written: its SHA-256 checksum does not match"
    return None


def written_checksum(path: Path) -> str | None:
    """The SHA-256 that an archive carries, unchecked; None where it carries none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if _ending(file, size, END.size + COMMENT_BYTES) != (SIGNATURE, COMMENT_BYTES):
            return None
        file.seek(size - DIGEST_BYTES)
        return file.read().decode("ascii", "replace")


def _ending(file: IO[bytes], size: int, distance: int) -> tuple[bytes, int] | None:
    """Signature and comment length of an end record so many bytes before the end of the file."""
    if size < distance:
        return None
    file.seek(size - distance)
    signature, _, length = END.unpack(file.read(END.size))
    return signature, length
