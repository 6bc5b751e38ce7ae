"""Data sets of the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import UserError, nearest
from heed.text.network import offline_if_unreachable

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
COPY = "where there is a network, or give a local copy: data.path=FOLDER"


@functools.lru_cache(maxsize=16)
def load_hub_split(
    name: str, config: str | None, split: str, *, revision: str | None = None
) -> Dataset:
    """A split of a data set on the hub, memory-mapped; downloaded once, then from the hub's cache.

    Raises:
        UserError: If that is no data set's name, if there is no such data set, configuration or
            split, or no network and no cached copy.
    """
    found: Dataset = _load(name, config, split, revision=revision)
    return found


@functools.lru_cache(maxsize=16)
def hub_stream(
    name: str, config: str | None, split: str, *, revision: str | None = None
) -> IterableDataset:
    """A split of a data set on the hub, read over the network as it is needed and never kept.

    Raises:
        UserError: As `load_hub_split`.
    """
    found: IterableDataset = _load(name, config, split, revision=revision, streaming=True)
    return found


def _load(name: str, config: str | None, split: str, **how: Any) -> Any:
    """What `datasets` gives; no code of the data set is ever run."""
    from datasets import load_dataset

    _check_name(name)
    try:
        with _quiet_without_terminal(), offline_if_unreachable():
            return load_dataset(name, config, split=split, trust_remote_code=False, **how)
    except Exception as error:  # every layer below has its own exceptions
        raise _explain(name, config, split, error) from error


def _check_name(name: str) -> None:
    """Refuse what `datasets` would take for a local path or for one of its own programs.

    Raises:
        UserError: If the name is not of the form OWNER/NAME or NAME.
    """
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    problem = ""
    if not _NAME.fullmatch(name) or name.endswith(".py") or name in _PACKAGED_DATASETS_MODULES:
        problem = f"but is {name!r}"
    elif Path(name).exists():
        problem = f"but there is a folder {name} here, which would be read in its place"
    if problem:
        raise UserError(
            f"data.source.hub must be a data set's name on huggingface.co (OWNER/NAME), {problem}",
            "files are read with data=local data.path=FOLDER",
        )


@contextlib.contextmanager
def _quiet_without_terminal() -> Iterator[None]:
    """Progress bars of a download are for people who watch."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _explain(name: str, config: str | None, split: str, error: Exception) -> UserError:
    words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "scripts are no longer supported" in words or "trust_remote_code" in words:
        return UserError(
            f"{name} on huggingface.co must be plain files, but it is a program that would have "
            "to be run, which Heed does not do",
            "download its files and give data.path=FOLDER",
        )
    if isinstance(error, ValueError) and "BuilderConfig" in words:
        return UserError(
            f"data.source.hub_config must be a configuration of {name}, but is {config!r} ({words})"
        )
    if isinstance(error, ValueError) and ("nknown split" in words or "Bad split" in words):
        found = words.partition("[")[2].rstrip("].").replace("'", "").split(", ")
        return UserError(
            f"data.source.splits must name splits of {name}, but there is no {split!r} ({words})",
            nearest(split, [one for one in found if one]),
        )
    if getattr(error, "errno", None) == 28:
        return UserError(
            f"there must be room on the disk for {name}, but there is none left",
            "free some, or set HF_HOME to a folder on another disk",
        )
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "DatasetNotFoundError" in kinds and "be accessed" in words:
        words = words.removesuffix(".")
    return UserError(
        f"the data set {name} must be on huggingface.co or in its local cache, but it cannot be "
        f"had: no network, or no such name ({words})",
        f"check the name, fetch it once {COPY}",
    )
