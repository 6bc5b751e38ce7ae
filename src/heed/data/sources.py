"""Where raw rows come from: the hub, somebody's files, or a built-in generator."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.data.files import SPLITS, Split, SplitFiles, expected_names, find_split, found_in
from heed.data.held_out import held_out_rows
from heed.data.hub import load_hub_split
from heed.data.rows import RawRow
from heed.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

Names = str | list[str] | None


class Source(ABC):
    """Raw rows of three splits, and a fingerprint of each that changes when the rows do."""

    @abstractmethod
    def rows(self, split: Split) -> Iterator[RawRow]:
        """The rows, in the order of the data.

        Raises:
            UserError: If the data is not there or cannot be read.
        """

    @abstractmethod
    def fingerprint(self, split: Split) -> str:
        """Hex digits that tell these rows from any others; raises as `rows` does."""

    @abstractmethod
    def describe(self, split: Split) -> str:
        """Where the split comes from, in a few words, and what was decided about it."""


class _WithHeldOut(Source):
    """A source that takes missing splits out of its training data.

    `_own` tells which of the splits the data has. A missing validation or test split is taken from
    the training rows if `held_out` names it; else a missing test split is the validation split.
    """

    def __init__(self, *, held_out: Mapping[str, float | int | None] | None, seed: int) -> None:
        self.held_out = dict(held_out or {})
        self.seed = seed
        for split, share in self.held_out.items():
            if split not in ("validation", "test"):
                raise UserError(
                    f"data.source.held_out must name validation or test, but names {split!r}"
                )
            if share is not None and share <= 0:
                raise UserError(
                    f"data.source.held_out.{split} must be a share of the training rows, or a "
                    f"number of them, above 0, but is {share}",
                    f"try data.source.held_out.{split}=0.05",
                )

    @abstractmethod
    def _own(self, split: Split) -> bool:
        """Whether the data has this split."""

    @abstractmethod
    def _own_rows(self, split: Split) -> Iterator[RawRow]:
        """Rows of a split that the data has."""

    @abstractmethod
    def _own_fingerprint(self, split: Split) -> str:
        """Fingerprint of a split that the data has."""

    @abstractmethod
    def _own_place(self, split: Split) -> str:
        """Name of a split that the data has, for messages."""

    @functools.cached_property
    def _taken(self) -> dict[str, frozenset[int]]:
        shares = {
            split: self.held_out.get(split)
            for split in ("validation", "test")
            if self.held_out.get(split) is not None and not self._own(split)
        }
        if not shares:
            return {}
        n_rows = sum(1 for _ in self._own_rows("train"))
        if n_rows <= len(shares):
            raise UserError(
                f"{self._own_place('train')} must have at least {len(shares) + 1} rows to take "
                f"{' and '.join(shares)} data from, but has {n_rows}",
                "give a file for each split",
            )
        return held_out_rows(n_rows, shares, seed=self.seed)

    def _stands_for(self, split: Split) -> Split:
        """The split itself, or the one that stands in for it."""
        if split == "test" and not self._own(split) and self.held_out.get(split) is None:
            return "validation"
        return split

    def rows(self, split: Split) -> Iterator[RawRow]:
        """See `Source.rows`."""
        split = self._stands_for(split)
        if split == "train" and self._taken:
            away: frozenset[int] = frozenset().union(*self._taken.values())
            yield from (row for i, row in enumerate(self._own_rows("train")) if i not in away)
        elif self._own(split):
            yield from self._own_rows(split)
        elif split in self._taken:
            chosen = self._taken[split]
            yield from (row for i, row in enumerate(self._own_rows("train")) if i in chosen)
        else:
            raise UserError(
                f"{self._own_place(split)} must have {split} data, but there is none",
                f"give data.source.files.{split}=NAME or data.source.held_out.{split}=0.05",
            )

    def fingerprint(self, split: Split) -> str:
        """See `Source.fingerprint`."""
        split = self._stands_for(split)
        if self._own(split) and not (split == "train" and self._held_out_now()):
            return self._own_fingerprint(split)
        parts = [self._own_fingerprint("train"), split, str(self.seed), str(self._held_out_now())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _held_out_now(self) -> dict[str, float | int]:
        return {
            name: share
            for name in SPLITS
            if (share := self.held_out.get(name)) is not None and not self._own(name)
        }

    def describe(self, split: Split) -> str:
        """See `Source.describe`."""
        stands_for = self._stands_for(split)
        if self._own(stands_for):
            place = self._own_place(stands_for)
        else:
            share = self.held_out.get(stands_for)
            amount = f"{share:.0%}" if share is not None and share < 1 else f"{share} rows"
            place = f"{amount} of {self._own_place('train')}, held out with seed {self.seed}"
        return place if stands_for == split else f"{place} (there is no test data of its own)"


class FileSource(_WithHeldOut):
    """Rows of local files.

    Args:
        path: A folder with a file for each split, or one file, which is then the training data.
        files: Split -> file name or pattern in the folder, or a list of which the first that is
            there is taken; null finds files named like the split.
        held_out: Split -> share (below 1) or number of training rows to take for a missing
            validation or test split.
        seed: Which rows are taken.
        name: What the data set is called, for messages.

    Raises:
        UserError: If the path is not given or not there.
    """

    def __init__(
        self,
        *,
        path: str | None,
        files: dict[str, Names] | None = None,
        held_out: dict[str, float | int | None] | None = None,
        seed: int = 0,
        name: str = "local",
    ) -> None:
        super().__init__(held_out=held_out, seed=seed)
        if not path:
            raise UserError(
                f"data={name} must be told where the files are, but data.path is null",
                "give data.path=FOLDER or data.path=FILE",
            )
        self.path = Path(path).expanduser()
        self.files = {split: _as_list(names) for split, names in (files or {}).items()}
        for split in self.files:
            if split not in SPLITS:
                raise UserError(
                    f"data.source.files must name splits, but names {split!r}",
                    nearest(split, SPLITS),
                )
        if not self.path.exists():
            raise UserError(
                f"data.path must be a folder or a file, but {self.path} does not exist",
                _siblings(self.path),
            )

    @functools.cached_property
    def _splits(self) -> dict[Split, SplitFiles]:
        if self.path.is_file():
            return {"train": SplitFiles((self.path,), {})}
        found = {
            split: files
            for split in SPLITS
            if (files := find_split(self.path, split, self.files.get(split, []))) is not None
        }
        for split, names in self.files.items():
            if split == "train" and "train" not in found:
                break
            if len(names) == 1 and split not in found:
                raise UserError(
                    f"data.source.files.{split} must be in {self.path}, but {names[0]!r} is not "
                    f"(found: {found_in(self.path)})",
                    nearest(names[0], [path.name for path in self.path.iterdir()]),
                )
        if "train" not in found:
            raise UserError(
                f"data.path must be a folder with training data, but {self.path} has "
                f"{found_in(self.path)}",
                f"a training file is {expected_names('train', self.files.get('train', []))}",
            )
        return found

    def _own(self, split: Split) -> bool:
        return split in self._splits

    def _own_rows(self, split: Split) -> Iterator[RawRow]:
        empty = True
        for row in self._splits[split].rows():
            empty = False
            yield row
        if empty:
            raise UserError(
                f"{self._own_place(split)} must have rows, but is empty",
                "copy or download it again, or give another data.path",
            )

    def _own_fingerprint(self, split: Split) -> str:
        files = self._splits[split]
        parts = [f"{_file_kind(path)} {hash_file(path)}" for path in files.paths()]
        parts += list(files.columns)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _own_place(self, split: Split) -> str:
        if split not in self._splits:
            return str(self.path)
        return " + ".join(str(path) for path in self._splits[split].paths())


class HubSource(_WithHeldOut):
    """Rows of a data set on the Hugging Face hub, or of a local copy of it.

    Args:
        hub: The data set's name on the hub.
        hub_config: Which of its configurations; null for its only one.
        revision: Branch, tag or commit on the hub; null for its newest.
        splits: Split -> the hub's name of it; null if the hub has none.
        path: Folder of a local copy, read in place of the hub; null for the hub.
        files: Split -> file names of a local copy, as for `FileSource`.
        held_out: As for `FileSource`.
        seed: As for `FileSource`.
    """

    def __init__(
        self,
        *,
        hub: str,
        hub_config: str | None = None,
        revision: str | None = None,
        splits: dict[str, str | None],
        path: str | None = None,
        files: dict[str, Names] | None = None,
        held_out: dict[str, float | int | None] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(held_out=held_out, seed=seed)
        self.hub = hub
        self.hub_config = hub_config
        self.revision = revision
        self.splits = splits
        self.local = (
            FileSource(path=path, files=files, held_out=held_out, seed=seed, name=hub)
            if path
            else None
        )

    def _own(self, split: Split) -> bool:
        return self.local._own(split) if self.local else bool(self.splits.get(split))

    def _own_rows(self, split: Split) -> Iterator[RawRow]:
        if self.local:
            yield from self.local._own_rows(split)
            return
        place = self._own_place(split)
        for number, values in enumerate(self._load(split), start=1):
            yield RawRow(place, number, values)

    def _own_fingerprint(self, split: Split) -> str:
        if self.local:
            return self.local._own_fingerprint(split)
        parts = [self.hub, str(self.hub_config), split, self._load(split)._fingerprint]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _own_place(self, split: Split) -> str:
        if self.local:
            return self.local._own_place(split)
        return f"{self.hub} ({self.splits.get(split) or split})"

    def _load(self, split: Split) -> Dataset:
        name = self.splits[split]
        assert name is not None
        return load_hub_split(self.hub, self.hub_config, name, revision=self.revision)


class BuiltinSource(Source):
    """Rows of Heed's own generators: no files, no network, any size.

    Args:
        corpus: translation, summarization, sentiment, qa or generative_qa.
        train_size: Rows of the training split.
        validation_size: Rows of the validation split.
        test_size: Rows of the test split.
        seed: Which rows.
    """

    def __init__(
        self, *, corpus: str, train_size: int, validation_size: int, test_size: int, seed: int = 0
    ) -> None:
        sizes = {"train": train_size, "validation": validation_size, "test": test_size}
        for split, size in sizes.items():
            if size < 1:
                raise UserError(
                    f"data.source.{split}_size must be at least 1, but is {size}",
                    f"try data.source.{split}_size=1000",
                )
        self.corpus = corpus
        self.sizes = sizes
        self.seed = seed

    def rows(self, split: Split) -> Iterator[RawRow]:
        """See `Source.rows`."""
        from heed.data.builtin.generate import generate

        rows = generate(self.corpus, split, size=self.sizes[split], seed=self.seed)
        place = f"built-in {self.corpus} ({split})"
        for number, values in enumerate(rows, start=1):
            yield RawRow(place, number, values)

    def fingerprint(self, split: Split) -> str:
        """See `Source.fingerprint`; the generators' own code is part of it."""
        import heed.data.builtin

        assert heed.data.builtin.__file__ is not None
        code = sorted(Path(heed.data.builtin.__file__).parent.glob("*.py"))
        parts = [self.corpus, split, str(self.sizes[split]), str(self.seed)]
        parts += [hash_file(path) for path in code]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def describe(self, split: Split) -> str:
        """See `Source.describe`."""
        return f"built-in {self.corpus}, {self.sizes[split]} rows, seed {self.seed}"


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex; read once for each size and time of change."""
    try:
        state = path.stat()
        return _hash_file(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} must be readable, but is not: {error.strerror}") from error


@functools.lru_cache(maxsize=1024)
def _hash_file(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file_kind(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _as_list(names: Names | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _siblings(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    return nearest(path.name, [one.name for one in parent.iterdir()])
