"""Optimizers as their configs make them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heed.commands.build import locate
from heed.commands.compose import compose
from heed.commands.rules import validate
from heed.errors import UserError
from heed.training.optimizers import adafactor, adamw, sgd

NAMES = ["adamw", "adafactor", "sgd"]


class Bowl(nn.Module):
    """A quadratic in a matrix and a bias, least at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.linspace(-2.0, 3.0, 35).reshape(5, 7))
        self.bias = nn.Parameter(torch.linspace(-1.0, 2.0, 3))

    def forward(self) -> torch.Tensor:
        return ((self.matrix - 1.0) ** 2).sum() + ((self.bias - 1.0) ** 2).sum()


def shipped(name, module, **changes):
    node = {**compose("train", [f"optimizer={name}"])["optimizer"], **changes}
    return locate(node.pop("_target_"))(module, **node)


def step(module, optimizer) -> float:
    optimizer.zero_grad()
    loss = module()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_optimizer_goes_downhill(name):
    bowl = Bowl()
    optimizer = shipped(name, bowl)
    before = step(bowl, optimizer)
    with torch.no_grad():
        assert float(bowl()) < before


@pytest.mark.parametrize(
    ("make", "settings", "reference"),
    [
        (
            adamw,
            {"lr": 0.03, "betas": [0.8, 0.95], "eps": 1e-7, "weight_decay": 0.2},
            lambda groups: torch.optim.AdamW(
                groups, lr=0.03, betas=(0.8, 0.95), eps=1e-7, fused=False
            ),
        ),
        (
            adafactor,
            {"lr": 0.03, "beta2_decay": -0.7, "clipping_threshold": 1.3, "weight_decay": 0.2},
            lambda groups: torch.optim.Adafactor(groups, lr=0.03, beta2_decay=-0.7, d=1.3),
        ),
        (
            sgd,
            {"lr": 0.03, "momentum": 0.6, "weight_decay": 0.2},
            lambda groups: torch.optim.SGD(groups, lr=0.03, momentum=0.6),
        ),
    ],
    ids=NAMES,
)
def test_every_setting_arrives(make, settings, reference):
    """Three steps equal those of torch's optimizer with these values, matrices decaying."""
    ours, theirs = Bowl(), Bowl()
    optimizer = make(ours, **settings)
    other = reference(
        [
            {"params": [theirs.matrix], "weight_decay": 0.2},
            {"params": [theirs.bias], "weight_decay": 0.0},
        ]
    )
    for _ in range(3):
        step(ours, optimizer)
        step(theirs, other)
    torch.testing.assert_close(ours.matrix, theirs.matrix)
    torch.testing.assert_close(ours.bias, theirs.bias)


@pytest.mark.parametrize("name", NAMES)
def test_the_schedule_scales_every_group(name):
    bowl = Bowl()
    optimizer = shipped(name, bowl, lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))
    step(bowl, optimizer)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_clipping_threshold_that_torch_refuses_is_refused_before():
    words = ["optimizer=adafactor", "optimizer.clipping_threshold=0.9"]
    with pytest.raises(UserError, match="optimizer.clipping_threshold must be .* 1.*but is 0.9"):
        validate(compose("train", words))
