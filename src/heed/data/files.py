"""Which files of a folder are the training, validation and test data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from heed.data.rows import READERS, RawRow, known_extension, read_parallel, read_rows
from heed.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ALIASES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
# Files beside the data that hold no lines of text; `train.en` is a column, `train.py` is not.
NO_COLUMNS = frozenset(
    [
        *("py", "ipynb", "sh", "md", "log", "lock", "pkl", "pickle", "joblib", "pt", "pth", "bin"),
        *("ckpt", "safetensors", "npy", "npz", "h5", "arrow", "db", "sqlite", "xlsx"),
        *("zip", "tar", "bz2", "xz", "zst"),
    ]
)
SHARD = re.compile(r"-\d+-of-\d+$")


class SplitFiles(NamedTuple):
    """The files of one split: one after another, or side by side as columns.

    Attributes:
        files: Read one after another.
        columns: Column -> text file, of which line n belong together; empty for a table.
    """

    files: tuple[Path, ...]
    columns: Mapping[str, Path]

    def rows(self) -> Iterator[RawRow]:
        """Every row; raises UserError as `heed.data.rows` does."""
        if self.columns:
            yield from read_parallel(dict(self.columns))
        for file in self.files:
            yield from read_rows(file)

    def paths(self) -> list[Path]:
        """All files, in order."""
        return [*self.files, *self.columns.values()]


def find_split(folder: Path, split: Split, names: Sequence[str]) -> SplitFiles | None:
    """The files of a split in a folder, or None.

    Args:
        folder: Where to look; its folder `data` is looked into as well, as hub snapshots have one.
        split: Which.
        names: File names or patterns, of which the first that is there is taken. Without one,
            files that are named like the split are: `dev.tsv.gz`, `valid.jsonl`,
            `test-00000-of-00003.parquet`, or `train.en` beside `train.de`.

    Raises:
        UserError: If several files could be meant.
    """
    for place in (folder, folder / "data"):
        if not place.is_dir():
            continue
        for name in names:
            found = tuple(sorted(place.glob(name)))
            if found:
                return SplitFiles(found, {})
        found_split = _named_like(place, split)
        if found_split is not None:
            return found_split
    return None


def _named_like(folder: Path, split: Split) -> SplitFiles | None:
    whole: list[Path] = []
    shards: list[Path] = []
    columns: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        extension = known_extension(path)
        stem = path.name[: -len(".gz")] if path.name.endswith(".gz") else path.name
        stem = stem[: -len(extension)] if extension else stem
        if SHARD.sub("", stem) in ALIASES[split] and extension:
            (whole if stem in ALIASES[split] else shards).append(path)
        elif extension in (None, ".txt"):
            start, _, column = stem.partition(".")
            if start in ALIASES[split] and column and column.lower() not in NO_COLUMNS:
                columns[column] = path
    choices = [SplitFiles((one,), {}) for one in whole]
    choices += [SplitFiles(tuple(shards), {})] if shards else []
    choices += [SplitFiles((), columns)] if columns else []
    if len(choices) > 1:
        shown = ", ".join(path.name for choice in choices for path in choice.paths())
        raise UserError(
            f"{folder} must have one {split} file, but has {shown}",
            f"choose with data.source.files.{split}=NAME",
        )
    return choices[0] if choices else None


def found_in(folder: Path, *, most: int = 12) -> str:
    """What a folder holds, for a message."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"


def expected_names(split: Split, names: Sequence[str]) -> str:
    """What would have been found, for a message."""
    usual = f"{' | '.join(ALIASES[split])} with one of {', '.join(READERS)} (.gz too)"
    return ", ".join([*names, usual])
