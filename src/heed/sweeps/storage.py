"""Where a study is kept: a journal file, SQLite, or a database server for several machines."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from heed.errors import RunFailed, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = "journal.log"
LOCKED_SECONDS = 60.0  # how long a busy SQLite file is waited for
HEARTBEAT_SECONDS = 60
GRACE_SECONDS = 300  # without a heartbeat until a trial of another machine counts as lost
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def open_storage(written: str | None, folder: Path) -> BaseStorage:
    """Open the storage that `sweep.storage` names, and make it if need be.

    Args:
        written: A URL (`sqlite:///...`, `postgresql://...`), a file (`*.db` and `*.sqlite` for
            SQLite, any other for a journal), or None for a journal in the folder.
        folder: The study folder, which exists.

    Raises:
        UserError: If a driver is missing, or the storage cannot be reached, read or written.
    """
    with storage_errors(written, UserError):
        if written is None:
            return _journal(folder / JOURNAL)
        scheme = written.partition("://")[0] if "://" in written else ""
        if scheme in ("", "file"):
            path = Path(written.removeprefix("file://")).expanduser()
            if not path.parent.is_dir():
                raise UserError(
                    f"sweep.storage must be in a folder that exists, but {path.parent} does not",
                    "make the folder, or leave sweep.storage out",
                )
            if path.suffix not in (".db", ".sqlite", ".sqlite3"):
                return _journal(path)
            written, scheme = f"sqlite:///{path}", "sqlite"
        return _database(written, scheme)


def wherever(written: str | None) -> str | None:
    """The name of a storage that holds in any working directory."""
    if written is None or ("://" in written and not written.startswith(("sqlite", "file"))):
        return written
    scheme, cut, path = written.rpartition(":///" if written.startswith("sqlite") else "file://")
    absolute = os.path.abspath(os.path.expanduser(path))
    return f"{scheme}:///{absolute}" if scheme else f"{cut}{absolute}"


def close_storage(storage: Any) -> None:
    """Close the connections to a database."""
    backend = getattr(storage, "_backend", storage)  # Optuna keeps a cache before a database
    engine = getattr(backend, "engine", None)
    if engine is not None:
        with contextlib.suppress(Exception):  # the server may have gone
            backend.remove_session()
        engine.dispose()


def shown(written: str | None) -> str:
    """The name of a storage without passwords, for records and messages."""
    if written is None:
        return JOURNAL
    text = re.sub(r"(://[^/@\s]*?:)[^@\s]*@", r"\1***@", written)
    return re.sub(r"([?&](?:password|sslpassword|passfile)=)[^&\s]*", r"\1***", text)


def is_secret(written: str | None) -> bool:
    """Whether `shown` leaves something out."""
    return written is not None and shown(written) != written


@contextlib.contextmanager
def storage_errors(
    written: str | None, kind: type[UserError] | type[RunFailed] = RunFailed
) -> Iterator[None]:
    """Say what is wrong with a storage in place of what its libraries raise in the block.

    Raises:
        RunFailed: Or `UserError`, as `kind` says.
    """
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise kind(
            f"the study's storage {shown(written)} {reason}",
            "runs that have ended are kept in their folders; "
            "once it is there again, the same command goes on",
        ) from error


def _journal(path: Path) -> BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    class Lock:
        """The system's own lock, which a process that dies lets go of."""

        def __init__(self) -> None:
            self._lock = FileLock(f"{path}.lock")

        def acquire(self) -> bool:
            self._lock.acquire()
            return True

        def release(self) -> None:
            self._lock.release()

    class Journal(JournalFileBackend):
        """A journal that a process may have died in, and that is not begun anew when it is gone."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            if not path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            with FileLock(f"{path}.writing.lock"):
                _cut_torn_line(path)
                super().append_logs(logs)

    existed = path.exists()
    backend = Journal(str(path), lock_obj=Lock())  # type: ignore[arg-type]
    if existed:
        with FileLock(f"{path}.writing.lock"):
            _cut_torn_line(path)
    return optuna.storages.JournalStorage(backend)


def _cut_torn_line(path: Path) -> None:
    """Take away what a process that was killed while it wrote has left of its last line."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        position = size
        tail = b""
        while position > 0 and b"\n" not in tail:
            start = max(0, position - 4096)
            file.seek(start)
            tail = file.read(position - start) + tail
            position = start
        whole = position + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
        if whole < size:
            file.truncate(whole)


def _database(url: str, scheme: str) -> BaseStorage:
    from optuna.storages import RDBStorage

    options: dict[str, Any] = {}
    if scheme.startswith("sqlite"):
        place = Path(urlsplit(url).path.removeprefix("/") or ".").expanduser()
        if not place.parent.is_dir():
            raise UserError(
                f"sweep.storage must be in a folder that exists, but {place.parent} does not",
                "make the folder, or leave sweep.storage out",
            )
        options = {"engine_kwargs": {"connect_args": {"timeout": LOCKED_SECONDS}}}
    else:
        driver = _DRIVERS.get(scheme, scheme)
        url = f"{driver}://{url.partition('://')[2]}"
        options = {
            "engine_kwargs": {"pool_pre_ping": True},
            "heartbeat_interval": HEARTBEAT_SECONDS,
            "grace_period": GRACE_SECONDS,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are "experimental"
        return RDBStorage(url, **options)


def _reason(error: BaseException) -> str | None:
    """What a storage's error means; None if it is no such error."""
    from optuna.exceptions import StorageInternalError

    told = str(error)
    cause: BaseException | None = error
    chain = []
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(one) for one in chain)
    modules = {type(one).__module__.partition(".")[0] for one in chain}
    if isinstance(error, ModuleNotFoundError) or "No module named" in text:
        name = getattr(error, "name", None) or "psycopg"
        return f"needs the package {name}, which is not installed: pip install 'heed-nlp[sweeps]'"
    if isinstance(error, FileNotFoundError):
        return f"is gone ({error.filename or told})"
    if "database is locked" in text:
        return f"has been locked by another program for {LOCKED_SECONDS:.0f} seconds"
    if isinstance(error, StorageInternalError) or {"sqlalchemy", "psycopg"} & modules:
        words = [line for one in reversed(chain) for line in str(one).splitlines() if len(line) > 9]
        return f"cannot be used: {shown(words[0] if words else type(error).__name__)}"
    if isinstance(error, OSError):
        return f"cannot be used: {error.strerror or told}"
    if isinstance(error, JSONDecodeError) or "Invalid log format" in told:
        return "is broken: it has a line that is no record of a study"
    return None
