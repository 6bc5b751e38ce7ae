"""Files that are either whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from heed.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def replacing(
    path: Path, mode: str = "wb", *, elsewhere: str = "paths.output_dir=FOLDER"
) -> Iterator[IO[Any]]:
    """Open a file for writing that takes the place of `path` once it is whole and on disk.

    A process that dies, or an error inside the block, leaves whatever was at `path` before.

    Args:
        path: The file; its folder must exist.
        mode: "wb", or "w" for UTF-8 text.
        elsewhere: What to type to have the file in another place.

    Raises:
        UserError: If the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error, elsewhere=elsewhere) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk, so that a rename survives a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems refuse
            raise
    finally:
        os.close(descriptor)


def writing_error(
    path: Path, error: OSError, *, elsewhere: str = "paths.output_dir=FOLDER"
) -> Exception:
    """What to raise when `path` could not be written: a UserError where the user can mend it."""
    if error.errno in _FULL:
        return UserError(
            f"{path} could not be written: {error.strerror or 'no space left'}",
            f"free some space there, or write elsewhere with {elsewhere}",
        )
    if error.errno in _CLOSED:
        return UserError(
            f"{path} could not be written: {error.strerror}",
            f"choose a folder that you may write to with {elsewhere}",
        )
    return error
