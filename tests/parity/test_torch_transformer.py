"""With torch's weights copied in, the backbone computes what torch.nn's modules compute.

Legend: B batch, S source length, T target length, D model width, H heads, F inner width.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.layout import Padded
from heed.backbone.stack import Stack
from heed.backbone.transformer import Transformer

B, S, T, D, H, F, LAYERS, V = 3, 7, 5, 33, 3, 41, 2, 29
SOURCE = Padded(torch.tensor([7, 2, 5]), S)
TARGET = Padded(torch.tensor([3, 5, 4]), T)


def randomize(module: nn.Module) -> None:
    """Every weight random, biases and norms too, so that none is left out unseen."""
    torch.manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.3)


def copy(ours: nn.Module, theirs: nn.Module) -> None:
    ours.load_state_dict(theirs.state_dict())


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    weight, bias = theirs.in_proj_weight, theirs.in_proj_bias
    with torch.no_grad():
        if ours.cross:
            ours.query.weight.copy_(weight[:D])
            ours.query.bias.copy_(bias[:D])
            ours.key_value.weight.copy_(weight[D:])
            ours.key_value.bias.copy_(bias[D:])
        else:
            ours.qkv.weight.copy_(weight)
            ours.qkv.bias.copy_(bias)
    copy(ours.output, theirs.out_proj)


def copy_stack(ours: Stack, theirs: nn.Module) -> None:
    for block, layer in zip(ours.layers, theirs.layers, strict=True):
        copy_attention(block.self_attention, layer.self_attn)
        norms = [block.self_attention_residual.norm]
        if block.cross_attention is not None:
            copy_attention(block.cross_attention, layer.multihead_attn)
            norms.append(block.cross_attention_residual.norm)
        norms.append(block.feed_forward_residual.norm)
        for i, norm in enumerate(norms):
            copy(norm, getattr(layer, f"norm{i + 1}"))
        copy(block.feed_forward.input, layer.linear1)
        copy(block.feed_forward.output, layer.linear2)
    if ours.norm is not None:
        copy(ours.norm, theirs.norm)


@pytest.mark.parametrize("kernel", ["reference", "sdpa", "auto"])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention(kernel: str, cross: bool, masked: bool) -> None:
    from heed.backbone.kernels import KERNELS

    theirs = nn.MultiheadAttention(D, H, batch_first=True)
    randomize(theirs)
    ours = MultiHeadAttention(d_model=D, n_heads=H, cross=cross, kernel=KERNELS[kernel])
    copy_attention(ours, theirs)
    x = torch.randn(B, T, D)
    memory, layout = (torch.randn(B, S, D), SOURCE) if cross else (x, TARGET)
    real = layout.mask()
    expected, _ = theirs(x, memory, memory, key_padding_mask=~real if masked else None)
    mask = real[:, None, None, :] if masked else None
    torch.testing.assert_close(ours(x, memory if cross else None, mask=mask), expected)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer(norm_first: bool, activation: str) -> None:
    """Encoder and decoder over the same embeddings, padded, with gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own advice on fast paths
        theirs = nn.Transformer(
            D, H, LAYERS, LAYERS, F, 0.0, activation, batch_first=True, norm_first=norm_first
        )
    if not norm_first:  # it has a final norm in any case; 2017 has none after a post-norm block
        theirs.encoder.norm = theirs.decoder.norm = None
    randomize(theirs)
    ours = Transformer(
        shape="encoder_decoder",
        vocabulary_size=V,
        d_model=D,
        n_heads=H,
        d_feed_forward=F,
        n_layers=LAYERS,
        norm_position="pre" if norm_first else "post",
        activation=activation,
        dropout=0.0,
    )
    assert ours.encoder is not None
    assert ours.decoder is not None
    copy_stack(ours.encoder, theirs.encoder)
    copy_stack(ours.decoder, theirs.decoder)
    source, target = torch.randint(V, (B, S)), torch.randint(V, (B, T))

    def embed(stack: Stack, ids: Tensor) -> Tensor:
        width = ids.shape[1]
        return stack.embeddings(ids, torch.arange(width), width)

    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    padded = ~SOURCE.mask()
    memory = theirs.encoder(embed(ours.encoder, source), src_key_padding_mask=padded)
    expected = theirs.decoder(
        embed(ours.decoder, target), memory, tgt_mask=future, memory_key_padding_mask=padded
    )
    actual = ours.decode(target, TARGET, ours.encode(source, SOURCE), SOURCE)
    real = TARGET.mask()
    torch.testing.assert_close(actual[real], expected[real], atol=1e-5, rtol=1e-4)

    expected[real].square().sum().backward()
    table = ours.encoder.embeddings.tokens.weight
    wanted, table.grad = table.grad.clone(), None
    actual[real].square().sum().backward()
    torch.testing.assert_close(table.grad, wanted, atol=1e-3, rtol=1e-3)
    layer = theirs.encoder.layers[0].linear1.weight.grad
    block = ours.encoder.layers[0].feed_forward.input.weight.grad
    torch.testing.assert_close(block, layer, atol=1e-3, rtol=1e-3)
