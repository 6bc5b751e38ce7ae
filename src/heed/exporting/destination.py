"""Where an export goes: a folder that is there whole or not at all, and overwrites no other."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from heed.errors import UserError
from heed.files import sync_folder, writing_error

EXPORTS = "exports"
ELSEWHERE = "output=FOLDER"


def destination(asked: str | None, run_dir: Path, form: str) -> Path:
    """The folder to write: the one that was asked for, or a free name under RUN/exports.

    Args:
        asked: What was typed after `output=`; None for the run's own folder of exports.
        run_dir: The run folder.
        form: The format's name.

    Raises:
        UserError: If the folder that was asked for exists.
    """
    if asked:
        output = Path(asked).expanduser()
        if output.exists():
            raise UserError(
                f"output={asked} exists, and an export overwrites nothing",
                "give another name, or move it away",
            )
        return output
    output, count = run_dir / EXPORTS / form, 1
    while output.exists():
        count += 1
        output = output.with_name(f"{form}-{count}")
    return output


@contextlib.contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `output` when the block ends without an error.

    Raises:
        UserError: If it cannot be written there, or `output` has come to be meanwhile.
    """
    output = Path(os.path.abspath(output))
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        _sync(temporary)
        if output.exists():  # an empty folder would be replaced by the rename
            raise UserError(f"{output} has come to be meanwhile", f"export again with {ELSEWHERE}")
        os.rename(temporary, output)
        sync_folder(output.parent)
    except OSError as error:
        raise writing_error(output, error, elsewhere=ELSEWHERE) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
