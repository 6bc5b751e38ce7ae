"""How fast training goes, counted in tokens that are not padding."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import Tensor

KEY = "throughput"


class Throughput(Callback):
    """Measures the speed of training, over the optimizer steps since the last log line.

    - `train/tokens_per_second`: real tokens (source and target, no padding) of all processes;
    - `train/padding_share`: the share of computed token positions that are padding, 0 to 1;
    - `train/step_seconds`: wall time of an optimizer step;
    - `train/data_wait_share`: the share of that time spent waiting for the loader, 0 to 1;
    - `train/tokens_seen`: real tokens of all processes since the run began, resumes included.

    Validation and saving are left out of the time. Nothing here waits for a device, except that
    counts which lie on one are read when a line is logged.
    """

    def __init__(self) -> None:
        self._seen = 0  # real tokens up to the last log line, all processes
        self._all_positions = 0
        self._all_seconds = 0.0
        self._all_waited = 0.0
        self._waited_before: float | None = None  # by the loader's own clock
        self._step = 0
        self._device = torch.device("cpu")
        self._reset()

    def _reset(self) -> None:
        self._steps = 0
        self._unlogged = (0, 0, 0.0, 0.0)  # tokens, positions, seconds and waiting since then
        self._real: int | Tensor = 0
        self._positions = 0
        self._seconds = 0.0
        self._waited = 0.0
        self._mark: float | None = None  # end of the last batch, or None after a pause
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        self._device = pl_module.device
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._started = time.perf_counter()
        waited = self._waited_for_loader(trainer)
        if self._mark is not None:
            self._seconds += self._started - self._mark
            self._waited += self._started - self._mark if waited is None else waited

    def _waited_for_loader(self, trainer: pl.Trainer) -> float | None:
        """Seconds since the last call that the loader kept training waiting, if it has a clock."""
        now = getattr(trainer.train_dataloader, "waited_seconds", None)
        before, self._waited_before = self._waited_before, now
        return None if now is None else now - (before or 0.0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        self._seconds += now - self._started
        self._real = self._real + batch.real_tokens
        self._positions += batch.token_positions
        self._mark = now
        self._steps += trainer.global_step - self._step
        self._step = trainer.global_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._mark = None
        real, positions = self._counts_of_all()
        checkpoint[KEY] = {
            "tokens": self._seen,
            "positions": self._all_positions,
            "seconds": self._all_seconds,
            "waited": self._all_waited,
            "since_last_line": {
                "tokens": real,
                "positions": positions,
                "seconds": self._seconds,
                "waited": self._waited,
                "steps": self._steps,
            },
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit" or KEY not in checkpoint:
            return
        self._seen = checkpoint[KEY]["tokens"]
        self._all_positions = checkpoint[KEY]["positions"]
        self._all_seconds = checkpoint[KEY]["seconds"]
        self._all_waited = checkpoint[KEY].get("waited", 0.0)
        since = checkpoint[KEY]["since_last_line"]
        if trainer.is_global_zero:  # what all processes had counted is carried on by one
            self._real, self._positions = since["tokens"], since["positions"]
        self._seconds, self._waited, self._steps = since["seconds"], since["waited"], since["steps"]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._counts_of_all()

    def step_metrics(self) -> dict[str, float]:
        """What is logged, over the steps since the last call."""
        real, positions = self._counts_of_all()
        self._seen += real
        self._all_positions += positions
        self._all_seconds += self._seconds
        self._all_waited += self._waited
        seconds = max(self._seconds, 1e-9)
        metrics = {
            "train/tokens_per_second": real / seconds,
            "train/padding_share": 1.0 - real / max(positions, 1),
            "train/step_seconds": seconds / max(self._steps, 1),
            "train/data_wait_share": self._waited / seconds,
            "train/tokens_seen": float(self._seen),
        }
        mark = self._mark
        self._reset()
        self._mark = mark
        return metrics

    def _counts_of_all(self) -> tuple[int, int]:
        """Real tokens and positions since the last log line, over all processes."""
        real, positions = int(self._real), self._positions
        if dist.is_initialized() and dist.get_world_size() > 1:
            counts = torch.tensor([real, positions], device=self._device)
            dist.all_reduce(counts)
            real, positions = (int(count) for count in counts)
        self._unlogged = (real, positions, self._seconds, self._waited)
        return real, positions

    def summary(self) -> dict[str, float]:
        """The whole training in numbers, for the run record."""
        tokens, positions, seconds, waited = self._unlogged
        tokens += self._seen
        positions += self._all_positions
        seconds += self._all_seconds
        waited += self._all_waited
        return {
            "tokens": tokens,
            "token_positions": positions,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
            "padding_share": round(1.0 - tokens / max(positions, 1), 4),
            "data_wait_share": round(waited / max(seconds, 1e-9), 5),
        }
