"""Hooks that nobody has are passed over; those that somebody has are called."""

from __future__ import annotations

import warnings

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from heed.training.callbacks.no_idle_hooks import (
    HOOKS_OF_A_STEP,
    NoIdleHooks,
    Unprofiled,
)


class Counting(Callback):
    def __init__(self) -> None:
        self.steps = 0

    def on_before_zero_grad(self, trainer, pl_module, optimizer) -> None:
        self.steps += 1


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)
        self.backwards = 0

    def training_step(self, batch, batch_idx):
        return self.linear(batch).sum()

    def on_after_backward(self) -> None:
        self.backwards += 1

    def configure_optimizers(self):

        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def trained(tmp_path) -> tuple[Counting, Module, list[str]]:

    counting, module = Counting(), Module()
    calls: list[str] = []

    class Noting(Unprofiled):
        def profile(self, action_name):
            calls.append(action_name)
            return super().profile(action_name)

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[counting, NoIdleHooks()],
        profiler=Noting(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, torch.utils.data.DataLoader(torch.ones(5, 2), batch_size=1))
    return counting, module, calls


def test_hooks_that_are_there_are_called(trained):
    counting, module, _ = trained
    assert (counting.steps, module.backwards) == (5, 5)


def test_hooks_that_are_not_there_are_not(trained):
    _, _, calls = trained
    hooks = [c for c in calls if "Callback" in c or "LightningModule" in c]
    of_steps = {c for c in hooks if c.split(".")[-1] in HOOKS_OF_A_STEP}
    assert of_steps == {
        "[Callback]Counting.on_before_zero_grad",
        "[LightningModule]Module.on_after_backward",
    }
