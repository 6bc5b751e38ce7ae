"""A small training with everything that callbacks meet: dropout, validation, a data position."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from heed.training.checkpoint_io import AtomicCheckpointIO

ROWS = 13  # batches an epoch
QUIET = (
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec.* is deprecated",
    "ignore:.*ModelCheckpoint.*could not find the monitored key",
    "ignore:The `srun` command is available on your system but is not used",
)


@dataclass
class Batch:
    x: Tensor  # (3, 5)
    number: int
    real_tokens: int = 7
    token_positions: int = 11

    def to(self, device, non_blocking=False):
        return Batch(self.x.to(device), self.number, self.real_tokens, self.token_positions)


class Order:
    """A batch order that is a function of seed and epoch, and knows its position."""

    def __init__(self):
        self.epoch = 0
        self.position = 0

    def set_epoch(self, epoch):
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def __iter__(self):
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.epoch))
        yield from order[self.position :].tolist()

    def __len__(self):
        return ROWS


class Numbered(torch.utils.data.Dataset):
    def __getitem__(self, number):
        values = torch.rand(3, 5, generator=torch.Generator().manual_seed(number))
        return Batch(values, number)

    def __len__(self):
        return ROWS


class Data(pl.LightningDataModule):
    def __init__(self):
        super().__init__()
        self.order = Order()

    def train_dataloader(self):
        return torch.utils.data.DataLoader(Numbered(), batch_size=None, sampler=self.order)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(Numbered(), batch_size=None)

    test_dataloader = val_dataloader

    def advance(self):
        self.order.position += 1

    def state_dict(self):
        return {"epoch": self.order.epoch, "position": self.order.position}

    def load_state_dict(self, state_dict):
        self.order.epoch = state_dict["epoch"]
        self.order.position = state_dict["position"]


class Model(pl.LightningModule):
    """Regression to zero with dropout and noise; logs `val/score` as `scores` says, or the loss."""

    def __init__(self, scores: list[float] | None = None):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.3), nn.Linear(7, 1))
        self.scores = list(scores or [])
        self.trained: list[int] = []
        self.validated = 0
        self.losses: list[float] = []
        self.at_batch: dict[int, Any] = {}  # what to do in the n-th training batch
        self.in_validation: Any = None
        self.samples: list[dict[str, str]] = []
        self.n_samples = 2

    def training_step(self, batch, batch_idx):
        noise = random.random() + float(np.random.rand())
        loss = (self.layers(batch.x) + noise).square().mean()
        self.trained.append(batch.number)
        self.losses.append(loss.item())
        self.log("train/loss", loss, prog_bar=True)
        action = self.at_batch.pop(len(self.trained), None)
        if action is not None:
            action()
        return loss

    def validation_step(self, batch, batch_idx):
        self.validated += 1
        torch.rand(batch_idx + 1)  # a decoder that samples
        self.samples = [{"source": "a|b", "prediction": f"p{i}"} for i in range(self.n_samples)]
        if self.in_validation is not None:
            action, self.in_validation = self.in_validation, None
            action()
        return self.layers(batch.x).square().mean()

    def on_validation_epoch_end(self):
        self.log("val/score", self.scores.pop(0) if self.scores else 1.0, prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.layers(batch.x).square().mean(), batch_size=3)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def make_model(scores: list[float] | None = None) -> Model:
    pl.seed_everything(7, verbose=False)
    return Model(scores)


def make_trainer(run_dir, callbacks, **changes) -> pl.Trainer:
    values: dict[str, Any] = {
        "max_epochs": 2,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 3,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_progress_bar": any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
        **changes,
    }
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=callbacks,
        default_root_dir=str(run_dir),
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        **values,
    )


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
