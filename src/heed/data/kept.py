"""A source whose rows are gone, of a corpus whose records are still in the cache."""

from __future__ import annotations

from collections.abc import Iterator

from heed.data.files import Split
from heed.data.rows import RawRow
from heed.data.source import Source
from heed.errors import UserError


class KeptSource(Source):
    """Nothing to read: what there was, the cache of records has kept."""

    def rows(self, split: Split) -> Iterator[RawRow]:
        """Refuse, since the cache was to have them.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"the {split} data must be in the cache of records, but they are damaged there",
            "give the data again: data.path=FOLDER",
        )

    def fingerprint(self, split: Split) -> str:
        """Refuse: the corpus knows its own fingerprints."""
        raise AssertionError("a corpus of kept records is told its fingerprints")

    def describe(self, split: Split) -> str:
        """Where the rows are."""
        return "cached records"
