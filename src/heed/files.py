"""Files that are either whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from heed.errors import UserError

_CHUNK_BYTES = 1 << 22
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class WritingError(UserError):
    """A file could not be written, for a reason that the user can mend."""


@contextlib.contextmanager
def replacing(
    path: Path,
    mode: str = "wb",
    *,
    elsewhere: str = "paths.output_dir=FOLDER",
    previous: Path | None = None,
) -> Iterator[IO[Any]]:
    """Open a file for writing that takes the place of `path` once it is whole and on disk.

    A process that dies, or an error inside the block, leaves whatever was at `path` before.

    Args:
        path: The file; its folder must exist.
        mode: "wb", or "w" for UTF-8 text.
        elsewhere: What to type to have the file in another place.
        previous: A name for what was at `path` before; None lets go of it.

    Raises:
        WritingError: If the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None:
            keep_as(path, previous)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error, elsewhere=elsewhere) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def keep_as(path: Path, name: Path) -> None:
    """Give the file at `path`, if there is one, a second name, in place of what had that name.

    It never loses its own name meanwhile, but on a file system without hard links.
    """
    if not path.exists():
        return
    link = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    try:
        os.link(path, link)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.replace(path, name)
        return
    os.replace(link, name)
    link.unlink(missing_ok=True)  # a rename between two names of one file leaves both


def link_or_copy(source: Path, path: Path, *, previous: Path | None = None) -> None:
    """Give a file a second name, in place of what had that name; where there are no links, copy it.

    Args:
        source: The file.
        path: Its second name, in an existing folder.
        previous: A name for what was at `path` before; None lets go of it.

    Raises:
        WritingError: If the disk is full or may not be written to.
    """
    if path.exists() and os.path.samefile(source, path):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _link(source, temporary)
        if previous is not None:
            keep_as(path, previous)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def link_folder(source: Path, path: Path, *, previous: Path | None = None) -> None:
    """Give the files of a folder a second folder, in place of what had that name.

    Args:
        source: The folder.
        path: The name of the second one.
        previous: A name for what was at `path` before; None deletes it.

    Raises:
        WritingError: If the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.copytree(source, temporary, copy_function=_link)
        replace_folder(temporary, path, previous=previous)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path, *, previous: Path | None = None) -> None:
    """Rename a folder, in place of what had its name. There is one of them at every instant.

    A folder cannot take the place of another in one step: between two steps the old one is there
    under the name `previous`, or else `replaced-NAME`.

    Args:
        new: The folder.
        path: Its name from now on.
        previous: A name for what was at `path` before; None deletes it.
    """
    old = previous or path.with_name(f"replaced-{path.name}")
    if path.exists():
        remove(old)
        os.replace(path, old)
    os.replace(new, path)
    sync_folder(path.parent)
    if previous is None:
        remove(old)


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it; it may be gone already.

    A folder first takes a hidden name, so that under its own it is whole or not there.
    """
    if path.is_dir() and not path.is_symlink():
        hidden = path.with_name(f".{path.name}.removed.tmp")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def _link(source: str | Path, path: str | Path) -> None:
    """Give a file a second name that nothing has yet; without hard links, copy it."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, path)


def sha256_of(*paths: Path) -> str:
    """The SHA-256 of the bytes of files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def local_cache_dir() -> Path:
    """Where this user's caches are unless they say otherwise; as configs/paths/default."""
    return Path(os.environ.get("HEED_CACHE") or "~/.cache/heed").expanduser()


def readable_bytes(count: float) -> str:
    """A size as people read it: "53.1 MB", in steps of 1000."""
    if count < 1000:
        return f"{count:.0f} bytes"
    units = ("kB", "MB", "GB", "TB")
    power = next((n for n in range(1, len(units)) if count < 999.5 * 1000**n), len(units))
    return f"{count / 1000**power:.3g} {units[power - 1]}"


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
    """What to raise when `path` could not be written: a `WritingError` if the user can mend it."""
    if error.errno in _FULL:
        return WritingError(
            f"{path} could not be written: {error.strerror or 'no space left'}",
            f"free some space there, or write elsewhere with {elsewhere}",
        )
    if error.errno in _CLOSED:
        return WritingError(
            f"{path} could not be written: {error.strerror}",
            f"choose a folder that you may write to with {elsewhere}",
        )
    return error
