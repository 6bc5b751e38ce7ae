"""Sizes of the models that are compared with those of transformers, and how weights are copied.

Legend: B batch, S source and T target length, D model width, H heads, F inner width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.layout import Padded
from heed.backbone.positions import LearnedPositions
from heed.backbone.stack import Stack
from heed.backbone.transformer import Transformer

B, S, T, V, D, H, F, LAYERS, LONGEST = 3, 7, 5, 53, 36, 3, 41, 2, 17
SIZES: dict[str, Any] = {
    "vocabulary_size": V,
    "d_model": D,
    "n_heads": H,
    "d_feed_forward": F,
    "n_layers": LAYERS,
    "max_length": LONGEST,
    "dropout": 0.0,
}
SOURCE = Padded(torch.tensor([7, 2, 5]), S)
TARGET = Padded(torch.tensor([3, 5, 4]), T)


def randomize(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def ids(length: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(3, V, (B, length))


def put(linear: nn.Module, *sources: nn.Module, transpose: bool = False) -> None:
    """Copy one linear layer or norm, or several side by side into a fused one."""
    with torch.no_grad():
        weight = torch.cat([source.weight.T if transpose else source.weight for source in sources])
        linear.weight.copy_(weight)
        if linear.bias is not None:
            linear.bias.copy_(torch.cat([source.bias for source in sources]))


def put_table(stack: Stack, tokens: nn.Embedding, positions: Tensor | None) -> None:
    with torch.no_grad():
        stack.embeddings.tokens.weight.copy_(tokens.weight)
        if positions is not None:
            assert isinstance(stack.embeddings.positions, LearnedPositions)
            stack.embeddings.positions.weight.copy_(positions)


def put_attention(ours: MultiHeadAttention, theirs: nn.Module, output: nn.Module) -> None:
    if ours.cross:
        put(ours.query, theirs.q_proj)
        put(ours.key_value, theirs.k_proj, theirs.v_proj)
    else:
        put(ours.qkv, theirs.q_proj, theirs.k_proj, theirs.v_proj)
    put(ours.output, output)


def compare_decoder(ours: Transformer, theirs: nn.Module) -> None:
    """All positions at once, and one after another with the cache."""
    target = ids(T)
    expected = theirs(input_ids=target).last_hidden_state
    ours.eval()
    torch.testing.assert_close(ours.features(target), expected, atol=1e-4, rtol=1e-4)
    cache = ours.new_cache()
    steps = [ours.decode(target[:, t : t + 1], cache=cache) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-4, rtol=1e-4)
