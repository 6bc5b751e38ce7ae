"""The data of a run whose training rows are streamed; see `heed.data.stream`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch.distributed as dist
from torch.utils.data import DataLoader

from heed.data.encoded_rows import EncodedRows
from heed.data.files import Split
from heed.data.module import DataModule
from heed.data.sampler import TokenBudgetSampler
from heed.data.stream import BatchStream, Place, Progress, StreamLoader
from heed.errors import UserError


class StreamedDataModule(DataModule):
    """Training batches from a stream; validation and testing as of any other corpus.

    The token budget is shared out among the processes, each of which reads rows of its own. The
    state is the place of every shard of every process, so a run goes on with as many processes and
    workers as it had.

    Args:
        shuffle_buffer: Records of all processes together among which rows are shuffled and put
            into batches of similar lengths.
        settings: As for `DataModule`.

    Raises:
        UserError: As `DataModule`.
    """

    def __init__(self, *, shuffle_buffer: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.shuffle_buffer = shuffle_buffer
        self._progress: Progress | None = None

    def _splits(self) -> tuple[Split, ...]:
        return tuple(split for split in super()._splits() if split != "train")

    def setup(self, stage: str | None = None) -> None:
        """Open the encoded rows of the splits that a stage needs, none to train on."""
        for split in self._splits():
            self.rows(split)

    def rows(self, split: Split) -> EncodedRows:
        """The token rows of a split; there are none of a stream."""
        assert split != "train", "the training rows are streamed"
        return super().rows(split)

    def train_dataloader(self) -> DataLoader:
        """Training batches of this process, from the place that was loaded or the beginning."""
        rank, world_size = self._place()
        progress = self._taken_up(rank, world_size)
        self._progress = progress
        shards = len(progress.places)
        stream = BatchStream(
            records=self._records,
            preparation=self.preparation,
            sampler=partial(self._sampler_over, world_size),
            block_records=max(1, self.shuffle_buffer // (world_size * shards)),
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            places=progress.places,
            turn=progress.position % shards,
        )
        options = {**self._loader_options(), "collate_fn": _same, "persistent_workers": False}
        return StreamLoader(stream, progress=progress, prefetch_to=self._prefetched(), **options)

    def _records(self, done: int, shard: int, shards: int) -> Iterator[dict[str, Any]]:
        records = self.corpus.stream(order=(self.seed, done), shard=shard, shards=shards)
        if self.limit_examples is None:
            return records
        return islice(records, len(range(shard, self.limit_examples, shards)))

    def _sampler_over(self, world_size: int, lengths: np.ndarray, seed: int) -> TokenBudgetSampler:
        return TokenBudgetSampler(
            lengths=lengths,
            max_tokens=None if self.max_tokens is None else max(1, self.max_tokens // world_size),
            batch_size=None if self.batch_size is None else max(1, self.batch_size // world_size),
            seed=seed,
        )

    def _taken_up(self, rank: int, world_size: int) -> Progress:
        progress = Progress(max(1, self.num_workers))
        state, self._resume_from = self._resume_from, None
        if state is None:
            return progress
        shards = state["shards"]
        if len(shards) != world_size or len(shards[0]) != len(progress.places):
            raise UserError(
                "a streamed run must go on with as many processes and workers as it had "
                f"({len(shards)} and {len(shards[0])}), but has {world_size} and "
                f"{len(progress.places)}",
                f"give trainer.devices={len(shards)}",
            )
        progress.places = [Place(*map(int, place)) for place in shards[rank]]
        progress.position = int(state["position"])
        progress.left_out = {int(position) for _, position in state.get("left_out", ())}
        return progress

    # The place in the data

    def set_epoch(self, epoch: int) -> None:
        """Nothing: a stream has one epoch, which does not end."""

    def advance(self) -> None:
        """Say that one more micro-batch was trained on."""
        self._following().advance()

    def next_place(self) -> tuple[int, int]:
        """Epoch, which is 0, and position of the micro-batch that comes next."""
        return 0, self._following().next_position()

    def ends_early(self) -> bool:
        """False: there is no last batch."""
        return False

    def _following(self) -> Progress:
        assert self._progress is not None, "there is no training loader"
        return self._progress

    def state_dict(self) -> dict[str, Any]:
        """The position, and the place of each shard of each process; all processes must ask."""
        if self._progress is None:
            return self._resume_from or {"epoch": 0, "position": 0, "shards": []}
        own = [list(place) for place in self._progress.places]
        shards: list[Any] = [own]
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            shards = [None] * dist.get_world_size()
            dist.all_gather_object(shards, own)
        state: dict[str, Any] = {
            "epoch": 0,
            "position": self._progress.position,
            "shards": shards,
        }
        if self._progress.left_out:
            state["left_out"] = [[0, position] for position in sorted(self._progress.left_out)]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a place in the stream, with the next training loader."""
        if not state_dict.get("shards"):
            raise UserError(
                "a streamed run must go on from a checkpoint of one, but this was not streamed",
                "leave data.streaming as the run had it",
            )
        self._resume_from = dict(state_dict)

    def leave_out(self, places: Iterable[tuple[int, int]]) -> None:
        """Never give the micro-batches at these places (epoch, position) again."""
        state = self.state_dict()
        known = {int(position) for _, position in state.get("left_out", ())}
        known |= {int(position) for _, position in places}
        self._resume_from = {**state, "left_out": [[0, one] for one in sorted(known)]}

    # Record of the run

    def _split_statistics(self, split: Split) -> dict[str, Any]:
        if split != "train":
            return super()._split_statistics(split)
        return {"streamed": True, "fingerprint": self.corpus.fingerprint(split)}


def _same(item: Any) -> Any:
    return item
