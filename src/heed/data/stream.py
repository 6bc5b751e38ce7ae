"""Training batches from rows that are read, tokenized and shuffled as they come.

For corpora that are larger than the disk: nothing is cached. The rows are dealt to *shards*, one
for each worker of each process (a process without workers is one). A shard reads its rows in
blocks; the batches of a block are a pure function of the data, the seed and the block's number, cut
and shuffled as an epoch of a cached corpus is. So a place is three numbers a shard, whatever has
been read before. A shard that has read all of its rows begins again: none ever runs dry, and
training ends by steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from heed.data.batch import Batch
from heed.data.loading import TrainingLoader
from heed.data.preparation import Preparation, columns_of
from heed.data.sampler import TokenBudgetSampler
from heed.data.token_rows import TokenRows, concatenated
from heed.errors import UserError

ENCODED_AT_ONCE = 1000
MOST_ROWS = 2**24  # of a block: what numbers its rows for masks


class Place(NamedTuple):
    """Where a shard stands.

    Attributes:
        done: How often it has read all of its rows.
        block: Blocks of this time that are done.
        batch: Batches of this block that are done.
    """

    done: int = 0
    block: int = 0
    batch: int = 0


class BatchStream(IterableDataset):
    """The batches of one process, each with its shard and the place behind it.

    Args:
        records: (pass, shard, shards) -> the records of a shard, in the order of that pass.
        preparation: Turns records into token rows and rows into batches.
        sampler: (lengths, seed) -> how a block is cut into batches, and in what order.
        block_records: Records of a block, in which rows are shuffled.
        seed: Decides the order of batches.
        rank: Number of this process.
        world_size: Number of processes.
        places: Where each of this process's shards begins; there are as many as workers, at least
            one.
        turn: Which of them gives the first batch.
    """

    def __init__(
        self,
        *,
        records: Callable[[int, int, int], Iterator[dict[str, Any]]],
        preparation: Preparation,
        sampler: Callable[[np.ndarray, int], TokenBudgetSampler],
        block_records: int,
        seed: int,
        rank: int,
        world_size: int,
        places: Sequence[Place],
        turn: int = 0,
    ) -> None:
        self.records = records
        self.preparation = preparation
        self.sampler = sampler
        self.block_records = block_records
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.places = list(places)
        self.turn = turn

    def __iter__(self) -> Iterator[tuple[Batch, int, Place]]:
        worker = get_worker_info()
        # a loader asks its first worker first, so the shard whose turn it is goes there
        slot = (self.turn + (worker.id if worker else 0)) % len(self.places)
        shards = self.world_size * len(self.places)
        shard = self.rank * len(self.places) + slot
        with ThreadPoolExecutor(1) as reader:
            blocks = self._blocks(shard, shards, self.places[slot])
            coming = reader.submit(next, blocks)  # read and encoded while one is trained on
            while True:
                place, rows = coming.result()
                coming = reader.submit(next, blocks)
                for batch, behind in self._batches(rows, shard, place):
                    yield batch, slot, behind

    def _blocks(self, shard: int, shards: int, place: Place) -> Iterator[tuple[Place, TokenRows]]:
        """The token rows of a shard's blocks and the place of each, without end."""
        while True:
            found = False
            skipped = place.block * self.block_records
            records = islice(self.records(place.done, shard, shards), skipped, None)
            while block := list(islice(records, self.block_records)):
                found = True
                yield place, self._rows(block)
                place = Place(place.done, place.block + 1)
            if not found and place.block == 0:
                raise UserError(
                    f"the training data must have a valid row for each of {shards} shards (one for "
                    f"each worker of each process), but shard {shard} has none",
                    "use fewer processes or data.num_workers=0",
                )
            place = Place(place.done + 1)

    def _batches(self, rows: TokenRows, shard: int, place: Place) -> Iterator[tuple[Batch, Place]]:
        if not len(rows):
            return
        which = [self.seed, shard, place.done, place.block]
        seed = int(np.random.SeedSequence(which).generate_state(1)[0])
        lengths = rows.ragged("lengths").values.reshape(len(rows), -1)
        first = (shard * 2**16 + place.block) * MOST_ROWS
        for number, rows_of_batch in enumerate(self.sampler(lengths, seed)):
            if number < place.batch:
                continue
            batch = rows.take(rows_of_batch)
            batch.columns["number"] = first + np.asarray(rows_of_batch)
            batch.columns["epoch"] = np.full(len(rows_of_batch), place.done)
            made = self.preparation.collate(batch, None)
            yield made, Place(place.done, place.block, number + 1)

    def _rows(self, block: list[dict[str, Any]]) -> TokenRows:
        """The block's token rows; records are numbered within it."""
        parts = []
        for first in range(0, len(block), ENCODED_AT_ONCE):
            some = block[first : first + ENCODED_AT_ONCE]
            numbers = range(first, first + len(some))
            encoded = self.preparation.encode(columns_of(some), numbers, training=True)
            parts.append(TokenRows.of(encoded, self.preparation.list_columns))
        return concatenated(parts)


class Progress:
    """How far training has got in a stream, while its loader runs ahead.

    Args:
        shards: Shards of this process.

    Attributes:
        places: Of each shard, where training stands.
        position: Batches that are done or left out, of this process.
        left_out: Positions that are never given.
    """

    def __init__(self, shards: int) -> None:
        self.places = [Place()] * shards
        self.position = 0
        self.left_out: set[int] = set()
        self._given: deque[tuple[int, int, Place]] = deque()

    def following(self, stream: Iterator[tuple[Batch, int, Place]]) -> Iterator[Batch]:
        """The batches of a stream that begins where training stands, none that is left out."""
        self._given.clear()
        for position, (batch, slot, place) in enumerate(stream, start=self.position):
            self._given.append((position, slot, place))
            if position not in self.left_out:
                yield batch

    def advance(self) -> None:
        """Say that the next batch is done, and with it those before it that are left out."""
        passed = -1
        while passed < 0 or passed in self.left_out:
            passed, slot, place = self._given.popleft()
            self.places[slot] = place
            self.position = passed + 1

    def next_position(self) -> int:
        """Position of the batch that comes next."""
        position = self.position
        while position in self.left_out:
            position += 1
        return position


class StreamLoader(TrainingLoader):
    """A loader of a stream's batches that keeps track of where training is.

    Args:
        progress: Told of each batch that is given.
        options: As for `TrainingLoader`.
    """

    def __init__(self, *args: Any, progress: Progress, **options: Any) -> None:
        super().__init__(*args, **options)
        self.progress = progress

    def batches(self) -> Iterator[Any]:
        """See `TrainingLoader.batches`."""
        return self.progress.following(super().batches())
