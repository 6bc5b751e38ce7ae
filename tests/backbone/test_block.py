"""Where the norms stand, written out from the papers' formulas.

Legend: B batch, T positions, D model width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from heed.backbone.block import Block, ParallelBlock, Residual, SandwichResidual
from heed.backbone.transformer import Transformer

B, T, D = 2, 5, 12
SIZES: dict[str, Any] = {
    "shape": "decoder",
    "vocabulary_size": 31,
    "d_model": D,
    "n_heads": 3,
    "d_feed_forward": 17,
    "n_layers": 2,
    "dropout": 0.0,
}


def layer(norm_position: Any) -> nn.Module:
    torch.manual_seed(1)
    model = Transformer(norm_position=norm_position, **SIZES)
    assert model.decoder is not None
    for name, weight in model.decoder.named_parameters():
        if "norm" in name:  # so that norms differ
            nn.init.normal_(weight, mean=1.0, std=0.3)
    return model.decoder.layers[0]


@pytest.mark.parametrize("norm_position", ["pre", "post", "sandwich"])
def test_sublayers_one_after_the_other(norm_position: str) -> None:
    block, x = layer(norm_position), torch.randn(B, T, D)
    assert isinstance(block, Block)
    first, second = block.self_attention_residual, block.feed_forward_residual
    y = x
    for residual, change in ((first, block.self_attention), (second, block.feed_forward)):
        if norm_position == "pre":
            y = y + change(residual.norm(y))
        elif norm_position == "post":
            y = residual.norm(y + change(y))
        else:
            assert isinstance(residual, SandwichResidual)
            y = y + residual.output_norm(change(residual.norm(y)))
    assert isinstance(first, SandwichResidual if norm_position == "sandwich" else Residual)
    torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize("norm_position", ["parallel", "parallel_one_norm"])
def test_sublayers_side_by_side(norm_position: str) -> None:
    block, x = layer(norm_position), torch.randn(B, T, D)
    assert isinstance(block, ParallelBlock)
    attended = block.self_attention(block.attention_norm(x), causal=True)
    expected = x + attended + block.feed_forward(block.feed_forward_norm(x))
    torch.testing.assert_close(block(x, causal=True), expected)
    one_norm = block.attention_norm is block.feed_forward_norm
    assert one_norm == (norm_position == "parallel_one_norm")


@pytest.mark.parametrize("norm_position", ["sandwich", "parallel", "parallel_one_norm"])
def test_they_learn_and_cache(norm_position: Any) -> None:
    torch.manual_seed(1)
    model = Transformer(norm_position=norm_position, **SIZES)
    ids = torch.randint(31, (B, T))
    expected = model.decode(ids)
    expected.square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    cache = model.eval().new_cache()
    steps = [model.decode(ids[:, t : t + 1], cache=cache) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)


def test_a_first_layer_may_go_without_its_norm() -> None:
    model = Transformer(norm_position="pre", first_norm=False, **SIZES)
    assert model.decoder is not None
    x = torch.randn(B, T, D)
    first, second = model.decoder.layers
    for block, normalised in ((first, x), (second, second.self_attention_residual.norm(x))):
        attended = x + block.self_attention(normalised)
        network = block.feed_forward(block.feed_forward_residual.norm(attended))
        torch.testing.assert_close(block(x), attended + network)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("qkv_bias", [None, False, True])
def test_queries_keys_and_values_may_have_biases_of_their_own(bias: bool, qkv_bias: Any) -> None:
    model = Transformer(bias=bias, qkv_bias=qkv_bias, **{**SIZES, "shape": "encoder_decoder"})
    assert model.decoder is not None
    block = model.decoder.layers[0]
    expected = bias if qkv_bias is None else qkv_bias
    for name in ("self_attention.qkv", "cross_attention.query", "cross_attention.key_value"):
        assert (block.get_submodule(name).bias is not None) == expected
    for name in ("self_attention.output", "cross_attention.output", "feed_forward.input"):
        assert (block.get_submodule(name).bias is not None) == bias
