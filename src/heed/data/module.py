"""The data of a run as Lightning wants it: a loader for each split, and the place in the data.

`Trainer(use_distributed_sampler=False)` is needed: the samplers here deal rows to the processes
themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from heed.data.batch import Batch
from heed.data.batching import check_limits
from heed.data.cache import encoded_rows, rows_fingerprint
from heed.data.corpus import Corpus
from heed.data.encoded_rows import EncodedRows
from heed.data.files import SPLITS, Split
from heed.data.loading import BatchRows, Collate, TrainingLoader
from heed.data.packing import Shape
from heed.data.preparation import Preparation, columns_of, digest
from heed.data.record_table import RecordTable
from heed.data.sampler import EvaluationSampler, TokenBudgetSampler
from heed.data.token_rows import TokenRows
from heed.errors import UserError

STAGES: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": (),
    None: ("train", "validation", "test"),
}


class DataModule(LightningDataModule):
    """Batches of a corpus for training, validation and testing, and of any records to predict.

    Training batches come from a `TokenBudgetSampler`, so a place in the data is two numbers, the
    epoch and the micro-batches of it that were trained on. Loaders run ahead of training, so the
    training loop says what was trained on: it calls `advance()` once after each micro-batch, before
    checkpoints are saved. The state of this module is that place, and a training loader made
    after `load_state_dict` begins there.

    Args:
        corpus: The records of each split.
        preparation: Turns records into token rows and rows into batches.
        max_tokens: Most token positions of one step of all processes together, padding included
            (before gradient accumulation); None for no limit.
        batch_size: Most rows of one step of all processes together; None for no limit.
        eval_max_tokens: Most token positions of one evaluation batch of one process; None takes
            `max_tokens`. `batch_size` holds for these batches too.
        seed: Decides the order of training batches.
        num_workers: Processes that fetch and pad batches ahead; 0 does it in the training process.
        cache_dir: Folder for encoded rows.
        limit_examples: Most records of each split, the first ones; None takes all.
        packed: Whether training batches are packed: rows laid one after another, and none padded.
            True: rows of any lengths meet, and all batches have one shape; "similar": rows of
            similar lengths do, as if they were padded, and a batch has a shape of its own.

    Raises:
        UserError: If a limit is missing or useless.
    """

    allow_zero_length_dataloader_with_multiple_devices = True  # a test split of one row, two GPUs

    def __init__(
        self,
        *,
        corpus: Corpus,
        preparation: Preparation,
        max_tokens: int | None,
        batch_size: int | None,
        eval_max_tokens: int | None,
        seed: int,
        num_workers: int,
        cache_dir: str,
        limit_examples: int | None,
        packed: bool | Literal["similar"] = False,
    ) -> None:
        super().__init__()
        for key, value, least in (
            ("num_workers", num_workers, 0),
            ("limit_examples", limit_examples, 1),
            ("eval_max_tokens", eval_max_tokens, 1),
        ):
            if value is not None and value < least:
                raise UserError(f"data.{key} must be at least {least}, but is {value}")
        check_limits(max_tokens, batch_size)
        self.corpus = corpus
        self.preparation = preparation
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.eval_max_tokens = eval_max_tokens if eval_max_tokens is not None else max_tokens
        self.seed = seed
        self.num_workers = num_workers
        self.cache_dir = cache_dir
        self.limit_examples = limit_examples
        self.packed = packed
        self._rows: dict[Split, EncodedRows] = {}
        self._train_sampler: TokenBudgetSampler | None = None
        self._resume_from: dict[str, Any] | None = None

    def limit(self, *, max_tokens: int, eval_max_tokens: int | None) -> None:
        """Take other limits, before there is a loader."""
        assert self._train_sampler is None, "batches have been dealt already"
        self.max_tokens = max_tokens
        self.eval_max_tokens = eval_max_tokens if eval_max_tokens is not None else max_tokens

    # Rows

    def prepare_data(self) -> None:
        """Build what is not in the cache yet; one process of a machine does it for all."""
        for split in self._splits():
            self._encoded(split)

    def setup(self, stage: str | None = None) -> None:
        """Open the encoded rows of the splits that a stage needs."""
        for split in STAGES[stage]:
            self.rows(split)

    def rows(self, split: Split) -> EncodedRows:
        """The token rows of a split, encoded when they are not in the cache."""
        if split not in self._rows:
            self._rows[split] = self._encoded(split)
        return self._rows[split]

    def records(self, split: Split) -> RecordTable:
        """The records of a split, at most `limit_examples`."""
        records = self.corpus.records(split)
        if self.limit_examples is not None and self.limit_examples < len(records):
            records = records.select(range(self.limit_examples))
        return records

    def _splits(self) -> tuple[Split, ...]:
        state = getattr(self.trainer, "state", None)
        stage = None if state is None or state.fn is None else str(state.fn.value)
        return STAGES.get(stage, STAGES[None])

    def _encoded(self, split: Split) -> EncodedRows:
        self.corpus.refuse_invalid(split)
        return encoded_rows(
            lambda: self.records(split),
            self.preparation,
            training=split == "train",
            records_fingerprint=self._records_fingerprint(split),
            cache_dir=self.cache_dir,
            description=f"Encoding {split}",
        )

    def _records_fingerprint(self, split: Split) -> str:
        return digest([self.corpus.fingerprint(split), self.limit_examples])

    # Loaders

    def train_dataloader(self) -> DataLoader:
        """Training batches of this process, from the place that was loaded or the epoch's start."""
        sampler = self._new_train_sampler()
        if self._resume_from is not None:
            sampler.load_state_dict(self._resume_from)
            self._resume_from = None
        self._train_sampler = sampler
        return TrainingLoader(
            BatchRows(self.rows("train"), None),
            sampler=sampler,
            prefetch_to=self._prefetched(),
            **self._loader_options("own" if self.packed == "similar" else sampler.shape),
        )

    def val_dataloader(self) -> DataLoader:
        """Validation batches of this process, with their records."""
        return self.evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        """Test batches of this process, with their records."""
        return self.evaluation_loader("test")

    def evaluation_loader(self, split: Split) -> DataLoader:
        """Batches of this process of a split that is not trained on, with their records."""
        return DataLoader(
            BatchRows(self.rows(split), self.records(split)),
            sampler=self._evaluation_sampler(split, *self._place()),
            **self._loader_options(),
        )

    def training_batches(self) -> int:
        """Micro-batches of an epoch, as many for every process."""
        return len(self._train_sampler or self._new_train_sampler())

    def evaluation_batches(self, split: Split, world_size: int) -> int:
        """The fewest batches of an evaluated split that one of so many processes has."""
        return len(self._evaluation_sampler(split, world_size - 1, world_size))

    def _evaluation_sampler(self, split: Split, rank: int, world_size: int) -> EvaluationSampler:
        rows = self.rows(split)
        return EvaluationSampler(
            lengths=rows.lengths,
            examples=rows.column("index"),
            max_tokens=self.eval_max_tokens,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _new_train_sampler(self) -> TokenBudgetSampler:
        rank, world_size = self._place()
        return TokenBudgetSampler(
            lengths=self.train_lengths(),
            packed=self.packed is True,
            max_tokens=self.max_tokens,
            batch_size=self.batch_size,
            seed=self.seed,
            # the same few batches are meant to come again in every epoch
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            rank=rank,
            world_size=world_size,
        )

    def train_lengths(self) -> np.ndarray:
        """(N, s) tokens of each training row as they count in a batch: packed rows that are told
        token by token lack their last."""
        lengths = np.asarray(self.rows("train").lengths)
        if not self.packed:
            return lengths
        told = [stream in self.preparation.told for stream in self.preparation.streams]
        return np.maximum(lengths - np.array(told, dtype=lengths.dtype), 0)

    def _place(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader_options(self, shape: Shape | Literal["own"] | None = None) -> dict[str, Any]:
        return {
            "batch_size": None,  # the sampler gives whole batches
            "collate_fn": Collate(self.preparation, shape),
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": self._device().type == "cuda",
        }

    def _prefetched(self) -> torch.device | None:
        device = self._device()
        return device if device.type == "cuda" else None

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    # Prediction

    def predict_batches(
        self, records: Iterable[dict[str, Any]], *, chunk_records: int = 1024
    ) -> Iterator[Batch]:
        """Batches of records that are read as they come, in flat memory.

        Records are read `chunk_records` at a time and batched by length within such a chunk, all
        of it before the next; `batch.indices` are places in the input. So when a batch of
        the next chunk arrives, the last chunk can be put in order and written.
        """
        for _, batches in self.predict_chunks(records, chunk_records=chunk_records):
            yield from batches

    def predict_chunks(
        self, records: Iterable[dict[str, Any]], *, chunk_records: int = 1024
    ) -> Iterator[tuple[list[dict[str, Any]], Iterator[Batch]]]:
        """As `predict_batches`, a chunk at a time: its records in input order, and its batches."""
        stream, first = iter(records), 0
        while chunk := list(islice(stream, chunk_records)):
            yield chunk, self._chunk_batches(chunk, first)
            first += len(chunk)

    def _chunk_batches(self, chunk: list[dict[str, Any]], first: int) -> Iterator[Batch]:
        numbers = range(first, first + len(chunk))
        columns = self.preparation.encode(columns_of(chunk), numbers, training=False)
        rows = TokenRows.of(columns, self.preparation.list_columns)
        lengths = rows.ragged("lengths").values.reshape(len(rows), -1)
        sampler = EvaluationSampler(
            lengths=lengths.astype(np.int64),
            examples=rows.scalars("index").astype(np.int64),
            max_tokens=self.eval_max_tokens,
            batch_size=self.batch_size,
        )
        for places in sampler:
            batch = rows.take(places)
            of_rows = [chunk[index - first] for index in batch.scalars("index").tolist()]
            yield self.preparation.collate(batch, of_rows)

    # The place in the data

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; in the epoch where training already is, stay."""
        if self._train_sampler is not None:
            self._train_sampler.set_epoch(epoch)

    def advance(self) -> None:
        """Say that one more micro-batch was trained on; after an epoch's last, go to the next."""
        sampler = self._sampler()
        sampler.advance()
        if self._left() <= 0:
            sampler.set_epoch(sampler.epoch + 1)

    def next_place(self) -> tuple[int, int]:
        """Epoch and position of the micro-batch that comes next, counted over all processes."""
        return self._sampler().next_place()

    def ends_early(self) -> bool:
        """Whether the next micro-batch is the last of an epoch of which some are left out."""
        return bool(self._sampler().left_out_here) and self._left() == 1

    def leave_out(self, places: Iterable[tuple[int, int]]) -> None:
        """Never give the micro-batches at these places (epoch, position) again."""
        state = self.state_dict()
        known = [tuple(place) for place in state.get("left_out", ())]
        state["left_out"] = sorted({*known, *places})
        self.load_state_dict(state)

    def _sampler(self) -> TokenBudgetSampler:
        assert self._train_sampler is not None, "there is no training loader"
        return self._train_sampler

    def _left(self) -> int:
        """Micro-batches that are still to come in this epoch, under Lightning's limit."""
        sampler = self._sampler()
        left = sampler.remaining()
        if self.trainer is not None:
            passed = [p for p in sampler.left_out_here if p < sampler.position]
            done = sampler.position - len(passed)
            left = int(min(left, self.trainer.num_training_batches - done))
        return left

    def state_dict(self) -> dict[str, Any]:
        """The place in the training data: {"epoch", "position"}, and "left_out" if any are."""
        if self._train_sampler is not None:
            return self._train_sampler.state_dict()
        return self._resume_from or {"epoch": 0, "position": 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a place in the training data: at once, and for the next training loader.

        Batches left out stay left out, whether the state knows of them or not.
        """
        known = self.state_dict().get("left_out", [])
        state: dict[str, Any] = {name: int(state_dict[name]) for name in ("epoch", "position")}
        left_out = {tuple(map(int, place)) for place in [*known, *state_dict.get("left_out", [])]}
        if left_out:
            state["left_out"] = [list(place) for place in sorted(left_out)]
        self._resume_from = state
        if self._train_sampler is not None:
            self._train_sampler.load_state_dict(state)

    # Record of the run

    def statistics(self, splits: Iterable[Split] = SPLITS) -> dict[str, Any]:
        """What the run record keeps about the data, by split, as plain values.

        Rows, tokens and lengths by stream, cut rows, dropped records with their reasons and
        fingerprints; for training also the batches of an epoch and their padding share.
        """
        return {split: self._split_statistics(split) for split in splits}

    def _split_statistics(self, split: Split) -> dict[str, Any]:
        rows = self.rows(split)
        records_fingerprint = self._records_fingerprint(split)
        found: dict[str, Any] = {
            **rows.counts,
            "tokens": {},
            "lengths": {},
            "dropped": {
                reason: {"count": count, "first": list(first)}
                for reason, (count, first) in self.corpus.faults(split).items()
            },
            "fingerprint": self.corpus.fingerprint(split),
            "encoded": rows_fingerprint(
                records_fingerprint, self.preparation, training=split == "train"
            ),
        }
        for number, stream in enumerate(self.preparation.streams):
            lengths = np.asarray(rows.lengths[:, number])
            found["tokens"][stream] = int(lengths.sum())
            found["lengths"][stream] = _percentiles(lengths)
        if split == "train":
            sampler = self._train_sampler or self._new_train_sampler()
            found["batches"] = len(sampler)
            found["oversized_rows"] = sampler.oversized
            found["padding_share"] = round(sampler.padding_share, 6)
            found["packed"] = self.packed
        return found


def _percentiles(lengths: np.ndarray) -> dict[str, float]:
    if not len(lengths):
        return {}
    names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: float(np.percentile(lengths, at)) for name, at in names.items()}
