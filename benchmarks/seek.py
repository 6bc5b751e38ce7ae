"""What it takes to go on in the middle of an epoch: the time to the first batch, near and far.

    python benchmarks/seek.py [--rows 1000000] [--workers 0]

Synthetic rows of 8 to 64 tokens; a loader is made at the start of an epoch and at nine tenths of
it, in turns, and asked for one batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from heed.data.loading import TrainingLoader
from heed.data.sampler import TokenBudgetSampler

ROUNDS = 7


class Rows(torch.utils.data.Dataset):
    """Rows made up when they are asked for."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.fetched = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, numbers: list[int]) -> Any:
        self.fetched += len(numbers)
        return torch.zeros(len(numbers), int(self.lengths[numbers].max()), dtype=torch.long)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    lengths = np.random.default_rng(0).integers(8, 65, size=(asked.rows, 1))
    sampler = TokenBudgetSampler(lengths=lengths, max_tokens=8192, batch_size=None, seed=1)
    places = {"start": 0, "nine tenths": len(sampler) * 9 // 10}
    seconds: dict[str, list[float]] = {name: [] for name in places}
    fetched = dict.fromkeys(places, 0)
    for _ in range(ROUNDS):
        for name, position in places.items():
            rows = Rows(lengths)
            sampler.load_state_dict({"epoch": 3, "position": position})
            begun = time.perf_counter()
            loader = TrainingLoader(
                rows, batch_size=None, sampler=sampler, num_workers=asked.workers
            )
            next(iter(loader))
            seconds[name].append(time.perf_counter() - begun)
            fetched[name] = rows.fetched
    print(f"{asked.rows:,} rows, {len(sampler):,} batches an epoch, {asked.workers} workers")
    for name, position in places.items():
        shown = f"{statistics.median(seconds[name]) * 1e3:8.1f} ms to the first batch"
        print(f"{name:<12} position {position:>7,}  {shown}, {fetched[name]} rows fetched")


if __name__ == "__main__":
    main()
