"""Optimizers, each a function from a module to a torch optimizer over its parameters."""

from __future__ import annotations

import torch
from torch import nn

from heed.training.parameter_groups import parameter_groups


def adamw(
    module: nn.Module,
    *,
    lr: float,
    betas: list[float],
    eps: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), in one fused kernel where torch has it.

    Args:
        module: What is trained.
        lr: Peak learning rate, scaled by the schedule.
        betas: Decay rates of the first and second moment.
        eps: Added to the denominator.
        weight_decay: Of matrices; see `parameter_groups`.
    """
    groups = parameter_groups(module, weight_decay=weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=True)


def adafactor(
    module: nn.Module,
    *,
    lr: float,
    beta2_decay: float,
    clipping_threshold: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Adafactor (Shazeer and Stern, 2018): second moments as row and column sums.

    Args:
        module: What is trained.
        lr: Peak relative step size, scaled by the schedule.
        beta2_decay: Exponent of the second moment's decay (section 6), negative.
        clipping_threshold: Update clipping d (section 5).
        weight_decay: Of matrices; see `parameter_groups`.
    """
    groups = parameter_groups(module, weight_decay=weight_decay)
    return torch.optim.Adafactor(groups, lr=lr, beta2_decay=beta2_decay, d=clipping_threshold)


def sgd(
    module: nn.Module,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum.

    Args:
        module: What is trained.
        lr: Peak learning rate, scaled by the schedule.
        momentum: Share of the last update that is kept.
        weight_decay: Of matrices; see `parameter_groups`.
    """
    groups = parameter_groups(module, weight_decay=weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)
