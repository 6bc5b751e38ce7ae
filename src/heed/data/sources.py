"""Where raw rows come from: the hub, somebody's files, or a built-in generator."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.data.files import SPLITS, Split, SplitFiles, expected_names, find_split, found_in
from heed.data.held_out import WithHeldOut
from heed.data.hub import hub_stream, load_hub_split
from heed.data.rows import RawRow, read_rows
from heed.data.source import Source
from heed.errors import UserError, nearest
from heed.files import sha256_of

if TYPE_CHECKING:
    from datasets import Dataset

Names = str | list[str] | None


class FileSource(WithHeldOut):
    """Rows of local files.

    Args:
        path: A folder with a file for each split, or one file, which is then the training data.
        files: Split -> file name or pattern in the folder; or a list of such, of which the first
            that is there is taken, and without one files named like the split; null is no list.
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
        self.files = dict(files or {})
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
        found = {split: files for split in SPLITS if (files := self._find(split)) is not None}
        if "train" not in found:
            names = self.files.get("train")
            raise UserError(
                f"data.path must be a folder with training data, but {self.path} has "
                f"{found_in(self.path)}",
                f"a training file is {expected_names('train', _as_list(names))}",
            )
        return found

    def _find(self, split: Split) -> SplitFiles | None:
        names = self.files.get(split)
        if not isinstance(names, str):
            return find_split(self.path, split, _as_list(names))
        paths = tuple(sorted(self.path.glob(names)))
        if not paths:
            raise UserError(
                f"data.source.files.{split} must be in {self.path}, but {names!r} is not "
                f"(found: {found_in(self.path)})",
                nearest(names, [path.name for path in self.path.iterdir()]),
            )
        return SplitFiles(paths, {})

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

    def parts(self, split: Split) -> list[Callable[[], Iterator[RawRow]]]:
        """See `Source.parts`: the files, where none of their rows are held out."""
        files = self._splits[split].files if split in self._splits else ()
        if not files or (split == "train" and self._taken):
            return super().parts(split)
        return [functools.partial(read_rows, file) for file in files]

    def streamed_fingerprint(self, split: Split) -> str:
        """See `Source.streamed_fingerprint`: by name, size and time of change."""
        if split not in self._splits:
            return self.fingerprint(split)
        parts = [str(self._held_out_now()), str(self.seed)]
        for path in self._splits[split].paths():
            state = path.stat()
            parts.append(f"{path.name} {state.st_size} {state.st_mtime_ns}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _own_place(self, split: Split) -> str:
        if split not in self._splits:
            return str(self.path)
        return " + ".join(str(path) for path in self._splits[split].paths())


class HubSource(WithHeldOut):
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

    def parts(self, split: Split) -> list[Callable[[], Iterator[RawRow]]]:
        """See `Source.parts`: the files on the hub, which are not kept on the disk."""
        if self.local:
            return self.local.parts(split)
        name = self.splits.get(split)
        if name is None or (split == "train" and self._taken):
            return super().parts(split)
        stream = hub_stream(self.hub, self.hub_config, name, revision=self.revision)
        place = self._own_place(split)

        def rows(number: int) -> Iterator[RawRow]:
            part = stream.shard(num_shards=stream.num_shards, index=number)
            for row, values in enumerate(part, start=1):
                yield RawRow(f"{place} part {number}", row, values)

        return [functools.partial(rows, number) for number in range(stream.num_shards)]

    def streamed_fingerprint(self, split: Split) -> str:
        """See `Source.streamed_fingerprint`: by name and revision."""
        if self.local:
            return self.local.streamed_fingerprint(split)
        parts = [self.hub, str(self.hub_config), str(self.revision), str(self.splits.get(split))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

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
        corpus: A corpus by name; see `heed.data.builtin.generate`.
        train_size: Rows of the training split.
        validation_size: Rows of the validation split.
        test_size: Rows of the test split.
        seed: Which rows.
        unanswerable: Of question answering: the share of questions without an answer.

    Raises:
        UserError: If a size is below 1.
    """

    def __init__(
        self,
        *,
        corpus: str,
        train_size: int,
        validation_size: int,
        test_size: int,
        seed: int = 0,
        unanswerable: float = 0.0,
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
        self.unanswerable = unanswerable

    def rows(self, split: Split) -> Iterator[RawRow]:
        """See `Source.rows`."""
        from heed.data.builtin.generate import generate

        rows = generate(
            self.corpus,
            split,
            size=self.sizes[split],
            seed=self.seed,
            unanswerable=self.unanswerable,
        )
        place = f"built-in {self.corpus} ({split})"
        for number, values in enumerate(rows, start=1):
            yield RawRow(place, number, values)

    def fingerprint(self, split: Split) -> str:
        """See `Source.fingerprint`; the generators' own code is part of it."""
        code = sorted((Path(__file__).parent / "builtin").glob("*.py"))
        parts = [self.corpus, split, str(self.sizes[split]), str(self.seed), str(self.unanswerable)]
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
    return sha256_of(path)


def _file_kind(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _as_list(names: Names | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _siblings(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    return nearest(path.name, [one.name for one in parent.iterdir()])
