"""Runs that this user has trained on this machine, remembered outside their folders.

A run folder cannot vouch for itself. So when a run begins, a small file in the user's own cache
(`$HEED_CACHE/runs` or `~/.cache/heed/runs`) keeps its place, who it is, and the code of other
packages that it was trained with. A folder that was moved here, or unpacked over another, is not
among them, and is read as a stranger's; nothing else is lost by that.

What a stranger's config says of places is not followed: see `confine`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.trust import VARIABLE, foreign_targets
from heed.errors import UserError
from heed.files import local_cache_dir, replacing

if TYPE_CHECKING:
    from heed.tracking.record import RunRecord

RUNS = "runs"
MARKER = ".heed-cache"
_WRITES_ELSEWHERE = {"mlflow": ("store",), "wandb": ("entity",)}


def remember(record: RunRecord, config: dict[str, Any]) -> None:
    """Keep that this user trains this run here, and that its cache folders are theirs.

    Where nothing can be kept, the run's processes are still told what is trusted.
    """
    for folder in _cache_dirs(config):
        with contextlib.suppress(OSError):  # whoever needs the cache will say what is wrong
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).touch()
    foreign = foreign_targets(config)
    kept = {"run": os.path.realpath(record.run_dir), "is": _identity(record), "targets": foreign}
    path = _entry(record.run_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "w") as file:
            json.dump(kept, file)
    except (OSError, UserError):
        if foreign:
            trusted = [*filter(None, [os.environ.get(VARIABLE)]), *foreign]
            os.environ[VARIABLE] = ",".join(trusted)


def recall(record: RunRecord) -> list[str] | None:
    """The foreign targets of a run that this user has trained here; None if it is not theirs."""
    try:
        kept = json.loads(_entry(record.run_dir).read_text(encoding="utf-8"))
        same = kept["run"] == os.path.realpath(record.run_dir) and kept["is"] == _identity(record)
        return [str(target) for target in kept["targets"]] if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def confine(config: dict[str, Any], *, own: bool) -> None:
    """Let a run folder's config name no place to write to, but for those that are the user's.

    - A cache is used if it is the local default, or if this user's runs have made it (a marker
      file of theirs lies in it); else the local default takes its place. A run from another machine
      then works without a word, and a config cannot have files written into a folder of its choice.
    - A stranger's MLflow store or wandb account would be told of whatever goes on here: such keys
      are null, and a tracker's files go into the run folder.
    - `paths.output_dir` is used for new runs only, and `data.path` is only read.

    Typed overrides come later, and so are followed.
    """
    for group in ("paths", "data"):
        folder = config[group].get("cache_dir")
        if not (isinstance(folder, str) and _is_ours(Path(folder).expanduser())):
            config[group]["cache_dir"] = str(local_cache_dir())
    if own:
        return
    for name, keys in _WRITES_ELSEWHERE.items():
        node = (config.get("logger") or {}).get(name)
        if isinstance(node, dict):
            node.update({key: None for key in keys if key in node})


def check_files(run_dir: Path) -> None:
    """Refuse a stranger's folder in which a link leads outside, or something is no plain file.

    Raises:
        UserError: With the first such file.
    """
    inside = Path(os.path.realpath(run_dir))
    for folder, names, files in os.walk(run_dir):
        for name in (*names, *files):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise UserError(
                    f"a run folder must hold its own files, but {path} leads to "
                    f"{os.path.realpath(path)}",
                    "if you know that file, put a copy in the link's place",
                )
            if not (stat.S_ISLNK(mode) or stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise UserError(f"a run folder must hold plain files, but {path} is a device")


def _cache_dirs(config: dict[str, Any]) -> set[Path]:
    found = (config[group].get("cache_dir") for group in ("paths", "data"))
    return {Path(folder).expanduser() for folder in found if isinstance(folder, str)}


def _is_ours(folder: Path) -> bool:
    try:
        if os.path.realpath(folder) == os.path.realpath(local_cache_dir()):
            return True
        return (folder / MARKER).lstat().st_uid == os.getuid()
    except (OSError, ValueError, AttributeError):  # no such file or name; no users here
        return False


def _entry(run_dir: Path) -> Path:
    place = os.path.realpath(run_dir)
    name = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:32]
    return local_cache_dir() / RUNS / f"{name}.json"


def _identity(record: RunRecord) -> str:
    """What tells this run from any other that has lain in the same place."""
    fields = record.fields
    first = (fields.get("sessions") or [fields])[0]
    parts = [fields.get("task"), fields.get("name"), fields.get("seed"), first.get("started")]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
