"""Runs in Python: choose them, and have them as a pandas DataFrame.

from heed.tracking.runs import runs
frame = runs("outputs", "task=sentiment", "optimizer.lr>1e-4").to_frame()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.errors import UserError
from heed.tracking.digest import Digest, with_news
from heed.tracking.folder import METRICS
from heed.tracking.run_filters import make_filter, split_word
from heed.tracking.run_index import list_runs

if TYPE_CHECKING:
    import pandas


def runs(root: Path | str = "outputs", *conditions: str) -> Runs:
    """The runs at or below a folder that meet all conditions, the newest first.

    Args:
        root: The folder.
        conditions: As after `heed runs`: "task=sentiment", "optimizer.lr>1e-4", "seed=1,2".

    Raises:
        UserError: If the folder does not exist, or a condition is none.
    """
    if not Path(root).is_dir():
        raise UserError(f"runs are looked for in a folder, but {root} is none")
    filters = []
    for word in conditions:
        parts = split_word(word)
        if parts is None:
            raise UserError(f"{word!r} must be a condition", "write KEY=VALUE, KEY>NUMBER, ...")
        filters.append(make_filter(*parts))
    found = list_runs(root)
    with_news(found)
    return Runs([one for one in found if all(f.matches(one) for f in filters)])


class Runs(Sequence[Digest]):
    """Some runs.

    Args:
        digests: What is known of each.
    """

    def __init__(self, digests: Sequence[Digest]) -> None:
        self._digests = list(digests)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each run: facts, scores ("val/accuracy") and config values ("optimizer.lr")."""
        import pandas

        rows = []
        for one in self:
            settings = {key: v for key, v in one.config.items() if not key.startswith("links.")}
            rows.append({**settings, **one.facts(), **one.metrics})
        facts = list(Digest("", "").facts())
        metrics = sorted({name for one in self for name in one.metrics})
        rest = list(dict.fromkeys(key for row in rows for key in row))
        columns = [*facts, *metrics, *(key for key in rest if key not in {*facts, *metrics})]
        frame = pandas.DataFrame(rows, columns=columns)
        for name in ("started", "ended"):
            frame[name] = pandas.to_datetime(frame[name].replace("", None), utc=True)
        return frame

    def curves(self) -> pandas.DataFrame:
        """A row for each line of each run's metrics.csv, with its folder before it."""
        import pandas

        frames = []
        for one in self:
            path = one.path / METRICS
            if path.is_file() and path.stat().st_size:
                frame = pandas.read_csv(path)
                frame.insert(0, "folder", one.folder)
                frames.append(frame)
        return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, place):  # a run, or Runs for a slice
        found = self._digests[place]
        return Runs(found) if isinstance(place, slice) else found

    def __repr__(self) -> str:
        return f"Runs({len(self)} runs)"
