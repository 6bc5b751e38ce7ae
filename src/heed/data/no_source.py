"""A source for where no data is read: predicting needs how a run prepares texts, not its data."""

from __future__ import annotations

from collections.abc import Iterator

from heed.data.files import Split
from heed.data.rows import RawRow
from heed.data.source import Source


class NoSource(Source):
    """Stands in for a run's data, which may be gone by now."""

    def rows(self, split: Split) -> Iterator[RawRow]:
        """Never called."""
        raise AssertionError(f"the {split} data is not to be read here")

    def fingerprint(self, split: Split) -> str:
        """Never called."""
        raise AssertionError(f"the {split} data is not to be read here")

    def describe(self, split: Split) -> str:
        """See `Source.describe`."""
        return "no data"
