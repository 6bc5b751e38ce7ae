"""Learning rates by optimizer step, against the formulas."""

from __future__ import annotations

import math

import pytest
import torch

from heed.errors import UserError
from heed.training.schedules import constant, cosine, inverse_square_root, linear

PEAK = 0.7
WARMUP = 5
END = 23


def rates(schedule, steps=END + 4, **settings):
    """The rate that each of so many optimizer steps is taken with."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=PEAK)
    scheduler = schedule(optimizer, **settings)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        (constant, {"total_steps": None}),
        (inverse_square_root, {"total_steps": None}),
        (linear, {"total_steps": END, "final": 0.1}),
        (cosine, {"total_steps": END, "final": 0.1}),
    ],
)
def test_warmup_is_linear_in_optimizer_steps(schedule, settings):
    found = rates(schedule, warmup_steps=WARMUP, **settings)
    assert found[:WARMUP] == pytest.approx([PEAK * n / WARMUP for n in (1, 2, 3, 4, 5)])
    assert max(found) == pytest.approx(PEAK)
    without = rates(schedule, warmup_steps=0, **settings)
    assert without[0] == pytest.approx(PEAK)


def test_constant():
    assert rates(constant, warmup_steps=WARMUP, total_steps=None)[WARMUP:] == [PEAK] * (END - 1)


def test_inverse_square_root():
    """lr = peak * sqrt(warmup) / sqrt(step), steps counted from 1 (Vaswani et al., 2017, 5.3)."""
    found = rates(inverse_square_root, warmup_steps=WARMUP, total_steps=None)
    for step in range(WARMUP, len(found) + 1):
        assert found[step - 1] == pytest.approx(PEAK * WARMUP**0.5 * step**-0.5)


def test_linear():
    found = rates(linear, warmup_steps=WARMUP, total_steps=END, final=0.1)
    for step in range(WARMUP, END):
        share = (step - WARMUP) / (END - WARMUP)
        assert found[step] == pytest.approx(PEAK * (1.0 - 0.9 * share))
    assert found[END:] == pytest.approx([0.1 * PEAK] * 4)  # and stays there


def test_cosine():
    found = rates(cosine, warmup_steps=WARMUP, total_steps=END, final=0.1)
    for step in range(WARMUP, END):
        share = (step - WARMUP) / (END - WARMUP)
        half = (1.0 + math.cos(math.pi * share)) / 2.0
        assert found[step] == pytest.approx(PEAK * (0.1 + 0.9 * half))
    assert found[END:] == pytest.approx([0.1 * PEAK] * 4)
    middle = rates(cosine, warmup_steps=0, total_steps=20, final=0.0)[10]
    assert middle == pytest.approx(PEAK / 2.0)


@pytest.mark.parametrize(("schedule", "name"), [(linear, "linear"), (cosine, "cosine")])
def test_an_end_is_needed_where_there_is_a_decay_to_it(schedule, name):
    with pytest.raises(UserError) as told:
        rates(schedule, warmup_steps=WARMUP, total_steps=None, final=0.0)
    assert str(told.value) == (
        f"scheduler={name} must know the number of training steps, but the trainer has no end; "
        "set trainer.max_steps or trainer.max_epochs, or use scheduler=inverse_square_root"
    )


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_a_training_shorter_than_its_warmup_only_warms_up(schedule):
    found = rates(schedule, steps=3, warmup_steps=WARMUP, total_steps=3, final=0.0)
    assert found == pytest.approx([PEAK * n / WARMUP for n in (1, 2, 3)])
