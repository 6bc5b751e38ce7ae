"""The run record: `run.json`, what a run was and what came of it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from heed.errors import EXIT_INTERRUPTED, EXIT_STOPPED, RunFailed, UserError, printable
from heed.files import replacing
from heed.tracking.environment import (
    checkouts,
    describe_code,
    describe_hardware,
    describe_platform,
    package_versions,
)
from heed.tracking.folder import RECORD_NAME, is_run_folder, near_run_folders
from heed.tracking.record_kinds import check_kinds

SCHEMA = 1
Status = Literal["queued", "running", "done", "failed", "interrupted", "stopped", "pruned"]
_MERGED = (
    *("metrics", "signatures", "data", "tokenizer", "throughput"),
    *("hardware", "computing", "lineage"),
)
_PLAIN = ("parameters", "best_checkpoint", "checkpoints", "steps", "epochs", "faults")


class RunRecord:
    """The record of one run, kept on disk in step with every change.

    `fields` is what `run.json` holds: `schema`, `task`, `name`, `status`, `reason`, `command`,
    `overrides`, `seed`, `started`, `ended`, `duration_seconds`, `phases` (seconds by phase),
    `versions`, `platform`, `hardware`, `computing` (processes, precision, threads, ...), `code`,
    `lineage` (the runs that this one comes from), `data`, `tokenizer`, `parameters`, `steps`,
    `epochs`, `throughput`, `metrics`, `signatures`, `best_checkpoint`, `checkpoints` (their `count`
    and `bytes`), `faults` (steps whose numbers were not finite), `trial` (which one of which study,
    for runs of a search), and `sessions`: the same facts of earlier sessions when the run was
    resumed. Environment variables are never recorded.

    Make one with `create`, get one with `open`.

    Args:
        run_dir: The run folder.
        fields: The content of its record.
    """

    def __init__(self, run_dir: Path, fields: dict[str, Any]) -> None:
        self.run_dir = run_dir
        self.fields = fields
        self._clock = time.monotonic()

    @classmethod
    def create(
        cls,
        run_dir: Path | str,
        *,
        task: str,
        name: str,
        seed: int | None,
        overrides: Sequence[str] = (),
        command: Sequence[str] | None = None,
        queued: bool = False,
        lineage: Mapping[str, Any] | None = None,
        trial: dict[str, Any] | None = None,
    ) -> RunRecord:
        """Begin the record of a new run in its empty folder, with status "running".

        The changes of Heed's checkout against its commit go to `code.diff`, those of the checkout
        around the working directory, when it is another, to `project.diff`.

        Args:
            run_dir: The run folder, which exists.
            task: Name of the task.
            name: Name of the run.
            seed: The seed of everything random.
            overrides: What was typed after the verb.
            command: The command line; `sys.argv` when None.
            queued: Whether the run is to be trained later, which its status says until then.
            lineage: The runs that this one comes from.
            trial: Which trial of which study the run is, if it is one.

        Raises:
            UserError: If there is a record in the folder, or it cannot be written.
        """
        run_dir = Path(run_dir)
        if is_run_folder(run_dir):
            raise UserError(
                f"{run_dir} holds a run, and a run is never overwritten",
                f"go on with it by resume={run_dir}, or choose another name",
            )
        fields: dict[str, Any] = {
            "schema": SCHEMA,
            "task": task,
            "name": name,
            "seed": seed,
            **_session(command, overrides),
            **_environment(run_dir),
            "lineage": dict(lineage or {}),
            "data": {},
            "tokenizer": {},
            "parameters": None,
            "metrics": {},
            "signatures": {},
            "best_checkpoint": None,
            "faults": [],
            "sessions": [],
            **({"trial": trial} if trial is not None else {}),
        }
        if queued:
            fields["status"] = "queued"
        record = cls(run_dir, fields)
        record.save()
        return record

    @classmethod
    def open(cls, run_dir: Path | str) -> RunRecord:
        """Read the record of a run.

        Raises:
            UserError: If this is not a run folder, or its record is broken or of another version.
        """
        run_dir = Path(run_dir)
        path = run_dir / RECORD_NAME
        if path.exists() and not path.is_file():
            raise UserError(f"{path} must be a plain file, but is none")
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _not_a_run_folder(run_dir) from error
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} must be JSON, but is broken: {error}",
                "restore it from a copy; the rest of the folder needs it",
            ) from error
        if not isinstance(fields, dict) or "schema" not in fields:
            raise UserError(f"{path} must be a run record, but has no 'schema'")
        if fields["schema"] != SCHEMA:
            versions = fields.get("versions")
            wrote = versions.get("heed-nlp") if isinstance(versions, dict) else None
            raise UserError(
                f"{path} must have schema {SCHEMA}, but has {fields['schema']!r}",
                f"use the version of Heed that wrote it ({wrote or 'not recorded'})",
            )
        check_kinds(fields, path)
        return cls(run_dir, fields)

    def save(self) -> None:
        """Write the record whole, or leave the one on disk as it is."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with replacing(self.run_dir / RECORD_NAME, "w") as file:
            json.dump(_plain(self.fields), file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")

    def update(self, **changes: Any) -> None:
        """Set facts and save.

        Mappings (`metrics`, `data`, `computing`, ...) are merged into what is there; `parameters`,
        `steps`, `epochs`, `checkpoints`, `faults` and `best_checkpoint` are replaced. A
        checkpoint's path is kept relative to the run folder.
        """
        for key, value in changes.items():
            assert key in _MERGED + _PLAIN, f"a run record has no field {key!r} to set"
            if key in _MERGED:
                self.fields[key] = {**(self.fields.get(key) or {}), **value}
            elif key == "best_checkpoint" and value:
                self.fields[key] = _relative(Path(value), self.run_dir)
            else:
                self.fields[key] = value or None if key == "best_checkpoint" else value
        self.save()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to `phases[name]`, however it ends."""
        start = time.monotonic()
        try:
            yield
        finally:
            phases = self.fields["phases"]
            phases[name] = round(phases.get(name, 0.0) + time.monotonic() - start, 3)
            self.save()

    @contextlib.contextmanager
    def running(self) -> Iterator[RunRecord]:
        """Record how the block ends: done, failed, interrupted or stopped, and why."""
        try:
            yield self
        except BaseException as error:
            status, reason = _ending(error)
            with contextlib.suppress(UserError, OSError):  # a full disk must not hide the error
                self.finish(status, reason)
            raise
        self.finish("done")

    def finish(self, status: Status, reason: str = "") -> None:
        """Close the record with how the run ended; an ending that stands already is kept."""
        if self.fields["status"] != "running":
            return
        self.fields["status"] = status
        self.fields["reason"] = reason or None
        self.fields["ended"] = _now()
        self.fields["duration_seconds"] = round(time.monotonic() - self._clock, 3)
        self.save()

    def begin_session(
        self, *, overrides: Sequence[str] = (), command: Sequence[str] | None = None
    ) -> None:
        """Go on with this run: what its last session was moves to `sessions`."""
        fresh = {**_session(command, overrides), **_environment(self.run_dir)}
        if self.fields["status"] != "queued":
            before = {key: self.fields.get(key) for key in fresh}
            self.fields["sessions"] = [*self.fields.get("sessions", []), before]
        self.fields.update(fresh)
        self._clock = time.monotonic()
        self.save()

    @property
    def best_checkpoint(self) -> Path | None:
        """The best checkpoint's path, if the run has recorded one.

        Raises:
            UserError: If the record names a file outside the run folder.
        """
        relative = self.fields.get("best_checkpoint")
        return self.inside(relative, "best_checkpoint") if relative else None

    def inside(self, relative: str, field: str) -> Path:
        """The path of a file that the record names, which lies in the run folder.

        A record may be a stranger's, so an absolute path, or one that leads out, is not followed.

        Args:
            relative: The path as recorded.
            field: The field that holds it, for the error.

        Raises:
            UserError: If the path leads outside the run folder.
        """
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts or "\0" in relative or "\\" in relative:
            raise UserError(
                f"{field} in {self.run_dir / RECORD_NAME} must be a file in the run folder, "
                f"but is {relative!r}",
                "restore the record from a copy, or name the file yourself (checkpoint=FILE)",
            )
        return self.run_dir / relative


def _session(command: Sequence[str] | None, overrides: Sequence[str]) -> dict[str, Any]:
    words = list(sys.argv if command is None else command)
    program = [Path(words[0]).name] if words else []
    return {
        "status": "running",
        "reason": None,
        "command": program + words[1:],
        "overrides": list(overrides),
        "started": _now(),
        "ended": None,
        "duration_seconds": None,
        "phases": {},
    }


def _environment(run_dir: Path) -> dict[str, Any]:
    code: dict[str, Any] = {}
    for name, folder in checkouts().items():
        described = describe_code(folder)
        if described is None:
            continue
        code[name], diff = described
        if diff:
            file_name = "code.diff" if name == "heed" else f"{name}.diff"
            with replacing(run_dir / file_name, "w") as file:
                file.write(diff)
            code[name]["diff"] = file_name
    return {
        "versions": package_versions(),
        "platform": describe_platform(),
        "hardware": describe_hardware(),
        "computing": {},  # known when there is a trainer
        "code": code,
    }


def _ending(error: BaseException) -> tuple[Status, str]:
    """Status and reason for what left the run."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        if error.code == EXIT_INTERRUPTED:
            return "interrupted", "interrupted from the keyboard"
        if error.code == EXIT_STOPPED:
            return "stopped", "asked to stop (SIGTERM)"
        if not error.code:
            return "done", ""
        return "failed", f"exit code {error.code}"
    if isinstance(error, RunFailed):
        told = not error.cause or error.problem.startswith(error.cause)
        return "failed", error.problem if told else f"{error.cause}: {error.problem}"
    if isinstance(error, UserError):
        return "failed", str(error)
    return "failed", f"{type(error).__name__}: {error}"


def _not_a_run_folder(run_dir: Path) -> UserError:
    near = near_run_folders(run_dir)
    if near:
        remedy = "did you mean " + " or ".join(_shown(folder) for folder in near) + "?"
    else:
        remedy = "give the folder that `heed train` named when it ended (outputs/TASK/NAME/TIME)"
    what = "has none" if run_dir.is_dir() else "is a file" if run_dir.exists() else "does not exist"
    return UserError(f"a run folder holds a {RECORD_NAME}, but {_shown(run_dir)} {what}", remedy)


def _shown(path: Path) -> str:
    """The path as short as it can be typed."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _relative(path: Path, run_dir: Path) -> str:
    if not path.is_absolute() and not path.exists():
        return path.as_posix()  # relative to the run folder as it is
    for form in (os.path.abspath, os.path.realpath):  # a folder of a run may be a link elsewhere
        full, base = Path(form(path)), Path(form(run_dir))
        if full.is_relative_to(base):
            return full.relative_to(base).as_posix()
    return Path(os.path.relpath(path.resolve(), run_dir.resolve())).as_posix()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """The value with numbers of torch and numpy as Python's own, and none that JSON lacks."""
    if isinstance(value, Mapping):
        return {printable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, (bool, int)) or value is None:
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "nan", "inf": JSON has no such numbers
    return value
