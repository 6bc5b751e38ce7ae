"""A faulty step made again, from its own batches, weights and random numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from heed.data.plain_batch import single_row
from heed.training.callbacks.exact_state import set_random_state
from heed.training.faults import Fault, SeenBatch
from heed.training.finder import Finding, NonFiniteFinder, non_finite_parameters


@dataclass
class Replayed:
    """What came of a step that was made again.

    Attributes:
        losses: Summed loss of each batch of each process.
        loss: Mean loss of the step.
        gradient_norm: Norm of its gradient.
        bad_weights: Parameters that were not finite before the step.
        bad_gradients: Parameters whose gradient is not finite after it.
        finding: Where a number was first not finite; None where nowhere.
        found_at: (process, number of the batch) of the finding.
    """

    losses: list[list[float]] = field(default_factory=list)
    loss: float = 0.0
    gradient_norm: float = 0.0
    bad_weights: list[str] = field(default_factory=list)
    bad_gradients: list[str] = field(default_factory=list)
    finding: Finding | None = None
    found_at: tuple[int, int] = (0, 0)


def replay(
    task: Any, trainer: pl.Trainer, fault: Fault, batches: list[list[SeenBatch]]
) -> Replayed:
    """Forward and backward of all batches of all processes, one after another.

    Args:
        task: The task with the weights before the step, on the trainer's device.
        trainer: Says device and precision.
        fault: The fault.
        batches: Its batches by process.
    """
    device = trainer.strategy.root_device
    done = Replayed(bad_weights=non_finite_parameters(task))
    task.train()
    task.zero_grad(set_to_none=True)
    accumulated = trainer.accumulate_grad_batches
    count, total = 0.0, 0.0
    with NonFiniteFinder(task) as finder:
        for rank, seen_by_rank in enumerate(batches):
            losses = []
            for number, seen in enumerate(seen_by_rank):
                set_random_state(seen.random_state, device)
                with trainer.precision_plugin.train_step_context():
                    loss = task.loss(seen.batch.to(device))
                (loss.sum * (fault.scale / accumulated)).backward()
                losses.append(float(loss.sum.detach()))
                count += float(loss.count)
                total += losses[-1]
                if finder.first is not None and done.finding is None:
                    done.finding, done.found_at = finder.first, (rank, number)
            done.losses.append(losses)
    gradients = [p.grad for p in task.parameters() if p.grad is not None]
    torch._foreach_mul_(gradients, accumulated / (fault.scale * count))
    done.loss = total / count
    done.gradient_norm = float(nn.utils.get_total_norm(gradients))
    done.bad_gradients = non_finite_parameters(task, gradients=True)
    return done


def row_losses(task: Any, trainer: pl.Trainer, batch: Any) -> list[float]:
    """Mean loss of each row of a batch alone, without dropout."""
    device = trainer.strategy.root_device
    task.eval()
    losses = []
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        for row in range(len(batch)):
            loss = task.loss(single_row(batch, row).to(device))
            losses.append(float(loss.sum / loss.count))
    return losses
