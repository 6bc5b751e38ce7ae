"""Parts that are not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from heed.errors import UserError
from heed.finetuning.freezing import check_something_is_trained, freeze, layers_of
from heed.training.optimizers import adamw


def step(task: nn.ModuleDict) -> None:
    """One optimizer step on a loss that every parameter takes part in."""
    optimizer = adamw(task, lr=0.1, betas=[0.9, 0.98], eps=1e-9, weight_decay=0.5)
    ids = torch.arange(10).reshape(2, 5)
    task["head"](task["backbone"].features(ids)).square().sum().backward()
    optimizer.step()


def test_what_is_frozen_gets_no_gradient_and_stays_bit_for_bit(
    make_task: Callable[..., nn.ModuleDict],
) -> None:
    task = make_task("encoder")
    before = {name: value.clone() for name, value in task.state_dict().items()}
    frozen = ("backbone.encoder.embeddings.", "backbone.encoder.layers.1.")
    count = freeze(task["backbone"], ["embeddings", "encoder.1"])
    assert count == sum(v.numel() for n, v in before.items() if n.startswith(frozen))
    step(task)
    for name, parameter in task.named_parameters():
        stays = name.startswith(frozen)
        assert (parameter.grad is None) == stays, name
        assert parameter.equal(before[name]) == stays, name


def test_frozen_parts_are_in_no_group(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder")
    freeze(task["backbone"], ["all"])
    optimizer = adamw(task, lr=0.1, betas=[0.9, 0.98], eps=1e-9, weight_decay=0.5)
    grouped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert grouped == {id(p) for p in task["head"].parameters()}


def test_a_shared_table_is_frozen_with_either_side(
    make_task: Callable[..., nn.ModuleDict],
) -> None:
    task = make_task("encoder_decoder", tied=True)
    freeze(task["backbone"], ["encoder"])
    assert not task["head"].output.weight.requires_grad
    assert all(p.requires_grad for p in task["backbone"].decoder.layers.parameters())


def test_training_nothing_is_refused(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder_decoder", tied=True)
    freeze(task["backbone"], ["all"])
    with pytest.raises(UserError, match="leaves nothing to train"):
        check_something_is_trained(task)
    task = make_task("encoder")
    freeze(task["backbone"], ["all"])
    check_something_is_trained(task)


def test_dropout_goes_on_in_frozen_parts(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder", dropout=0.5)
    freeze(model, ["all"])
    ids = torch.arange(5)[None]
    model.train()
    assert not model.features(ids).equal(model.features(ids))
    model.eval()
    assert model.features(ids).equal(model.features(ids))


def test_a_model_of_ones_own_can_be_frozen_as_a_whole_only() -> None:
    own = nn.Linear(3, 3)
    assert layers_of(own) == {}
    with pytest.raises(UserError, match="can name parts of Heed's own models"):
        freeze(own, ["encoder.0"])
    assert freeze(own, ["all"]) == 12
    assert freeze(own, []) == 0
