"""From a sampler's row numbers to a batch: fetching rows and records, and padding them.

The loaders get whole batches of row numbers from their samplers, so a batch is fetched at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from heed.data.batch import Batch
from heed.data.encoded_rows import EncodedRows
from heed.data.packing import Shape
from heed.data.prefetch import Prefetched
from heed.data.preparation import Preparation
from heed.data.sampler import EpochRows
from heed.data.token_rows import TokenRows


class TrainingLoader(DataLoader):
    """A loader that begins where its sampler stands, and says so to Lightning.

    Lightning warns of a resume in the middle of an epoch unless the loader has a state. The place
    in the data is the data module's state, so nothing is left to be kept here.

    Args:
        prefetch_to: A device to which a thread copies batches ahead; None makes each batch when it
            is asked for, on the CPU.
        options: As for `DataLoader`.

    Attributes:
        waited_seconds: How long its user has waited for batches so far.
    """

    def __init__(self, *args: Any, prefetch_to: torch.device | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.prefetch_to = prefetch_to
        self.waited_seconds = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = self.batches()
        if self.prefetch_to is not None:
            batches = Prefetched(batches, self.prefetch_to)
        return self._timed(batches)

    def batches(self) -> Iterator[Any]:
        """The batches on the CPU, from where the sampler stands."""
        return super().__iter__()

    def _timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.waited_seconds += time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do."""


class BatchRows(Dataset):
    """Fetches all rows of a batch at once, and their records when there are any.

    Rows to train on come with their "number" and "epoch", for what is drawn anew in every epoch.
    """

    def __init__(self, rows: EncodedRows, records: Any | None) -> None:
        self.rows = rows
        self.records = records

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: list[int]) -> tuple[TokenRows, list[dict] | None]:
        rows = self.rows.take(numbers)
        if isinstance(numbers, EpochRows):
            rows.columns["number"] = np.asarray(numbers)
            rows.columns["epoch"] = np.full(len(numbers), numbers.epoch)
        if self.records is None:
            return rows, None
        columns = self.records[rows.scalars("index").tolist()]
        names = list(columns)
        return rows, [
            dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]


class Collate:
    """The preparation's `collate` on what `BatchRows` fetches; can be sent to a worker.

    Args:
        preparation: Makes batches of padded rows.
        shape: What they are packed to; "own": each to what it needs; None leaves them padded.
    """

    def __init__(
        self, preparation: Preparation, shape: Shape | Literal["own"] | None = None
    ) -> None:
        self._collate: Callable[..., Any] = preparation.collate
        self._streams = len(preparation.streams)
        self._shape = shape

    def __call__(self, fetched: tuple[TokenRows, list[dict] | None]) -> Batch:
        batch = self._collate(*fetched)
        if self._shape is None:
            return batch
        own = self._shape == "own"
        return batch.packed(Shape.just_enough(len(batch), self._streams) if own else self._shape)
