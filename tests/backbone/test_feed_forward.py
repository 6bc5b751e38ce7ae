"""The feed-forward network against its formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from heed.backbone.feed_forward import Activation, FeedForward


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
def test_a_plain_activation_bends_the_inner_layer(activation: str) -> None:
    torch.manual_seed(1)
    network = FeedForward(d_model=5, d_feed_forward=7, activation=activation)
    x = torch.randn(2, 3, 5)
    bends = {"relu": lambda x: x.clamp(min=0), "gelu": gelu, "gelu_tanh": gelu_tanh}
    bend = {**bends, "silu": lambda x: x * torch.sigmoid(x)}[activation]
    inner = bend(x @ network.input.weight.T + network.input.bias)
    expected = inner @ network.output.weight.T + network.output.bias
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize(
    ("activation", "bend"),
    [("swiglu", lambda x: x * torch.sigmoid(x)), ("geglu", gelu), ("geglu_tanh", gelu_tanh)],
)
def test_a_bent_gate_multiplies_a_value(
    activation: Activation, bend: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(1)
    network = FeedForward(d_model=5, d_feed_forward=7, activation=activation, bias=False)
    x = torch.randn(2, 3, 5)
    gate, value = x @ network.input.weight[:7].T, x @ network.input.weight[7:].T
    expected = (bend(gate) * value) @ network.output.weight.T
    torch.testing.assert_close(network(x), expected)
