"""Rates that fall from the head to the embeddings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from heed.errors import UserError
from heed.finetuning.freezing import freeze
from heed.finetuning.layer_rates import set_layer_rates
from heed.training.optimizers import adamw
from heed.training.schedules import linear


def optimizer_of(task: nn.Module, *, layer_decay: float, head_rate: float) -> torch.optim.Optimizer:
    optimizer = adamw(task, lr=0.2, betas=[0.9, 0.98], eps=1e-9, weight_decay=0.5)
    set_layer_rates(optimizer, task, layer_decay=layer_decay, head_rate=head_rate)
    return optimizer


def rates(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rate of every parameter that is in a group, by its first name."""
    names = {id(p): name for name, p in task.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_each_layer_learns_at_a_multiple_of_the_one_above(
    make_task: Callable[..., nn.ModuleDict],
) -> None:
    task = make_task("encoder")
    optimizer = optimizer_of(task, layer_decay=0.5, head_rate=3.0)
    expected = {
        "head.": 0.6,
        "backbone.encoder.norm.": 0.1,
        "backbone.encoder.layers.2.": 0.1,
        "backbone.encoder.layers.1.": 0.05,
        "backbone.encoder.layers.0.": 0.025,
        "backbone.encoder.embeddings.": 0.0125,
    }
    found = rates(task, optimizer)
    assert found.keys() == {name for name, _ in task.named_parameters()}
    for name, rate in found.items():
        (wanted,) = [value for part, value in expected.items() if name.startswith(part)]
        assert rate == pytest.approx(wanted), name


def test_decay_and_its_absence_stay_as_they_were(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder")
    before = {
        id(p): group["weight_decay"]
        for group in adamw(task, lr=0.2, betas=[0.9, 0.98], eps=1e-9, weight_decay=0.5).param_groups
        for p in group["params"]
    }
    groups = optimizer_of(task, layer_decay=0.5, head_rate=1.0).param_groups
    after = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert after == before
    assert {0.0, 0.5} == set(after.values())


def test_the_first_group_has_the_highest_rate_and_a_schedule_scales_all(
    make_task: Callable[..., nn.ModuleDict],
) -> None:
    task = make_task("encoder")
    optimizer = optimizer_of(task, layer_decay=0.5, head_rate=1.0)
    peak = [group["lr"] for group in optimizer.param_groups]
    assert peak == sorted(peak, reverse=True)
    assert peak[0] == 0.2
    schedule = linear(optimizer, warmup_steps=4, total_steps=10, final=0.0)
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([r / 2 for r in peak])


def test_a_shared_table_learns_as_the_embeddings(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder_decoder", tied=True, n_decoder_layers=2)
    found = rates(task, optimizer_of(task, layer_decay=0.5, head_rate=7.0))
    assert found["backbone.encoder.embeddings.tokens.weight"] == pytest.approx(0.2 * 0.5**6)
    assert found["backbone.decoder.layers.1.self_attention.qkv.weight"] == pytest.approx(0.1)
    assert found["backbone.encoder.layers.2.feed_forward.input.weight"] == pytest.approx(0.2 / 8)


def test_frozen_parts_have_no_rate(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder")
    freeze(task["backbone"], ["embeddings", "encoder.0-1"])
    found = rates(task, optimizer_of(task, layer_decay=0.9, head_rate=1.0))
    assert all(not name.startswith("backbone.encoder.layers.0") for name in found)
    assert found["head.weight"] == 0.2


def test_a_model_without_known_layers_has_a_head_rate_alone() -> None:
    task = nn.ModuleDict({"backbone": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    with pytest.raises(UserError, match="layer_decay needs a model whose layers are known"):
        optimizer_of(task, layer_decay=0.9, head_rate=1.0)
    found = rates(task, optimizer_of(task, layer_decay=1.0, head_rate=2.0))
    assert found == {
        "backbone.weight": 0.2,
        "backbone.bias": 0.2,
        "head.weight": 0.4,
        "head.bias": 0.4,
    }
