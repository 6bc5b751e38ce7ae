"""What a source of raw rows is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from heed.data.files import Split
from heed.data.rows import RawRow


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

    def parts(self, split: Split) -> list[Callable[[], Iterator[RawRow]]]:
        """The rows in parts, each read by itself, for a corpus that is streamed."""
        return [lambda: self.rows(split)]

    def streamed_fingerprint(self, split: Split) -> str:
        """As `fingerprint`, without reading all rows where that can be."""
        return self.fingerprint(split)

    @abstractmethod
    def describe(self, split: Split) -> str:
        """Where the split comes from, in a few words, and what was decided about it."""
