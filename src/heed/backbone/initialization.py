"""The first weights.

Legend: D model width, L layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.block import Block
from heed.backbone.feed_forward import FeedForward
from heed.backbone.stack import Stack


@torch.no_grad()
def initialize_stack(stack: Stack, *, pre_norm: bool) -> None:
    """Draw the weights of a stack's blocks, from torch's generator.

    Projections are Xavier-uniform, each of the fused ones by itself (Glorot and Bengio 2010);
    biases are zero. In a pre-norm stack of L layers the projections that end a sublayer are
    (2 L)^-0.5 as large, so that the sum of all sublayers stays of one size whatever the depth
    (Radford et al. 2019, section 2.3).
    """
    gain = (2 * len(stack.layers)) ** -0.5 if pre_norm else 1.0
    for module in stack.layers.modules():
        if isinstance(module, MultiHeadAttention):
            if module.cross:
                _xavier(module.query)
                _xavier(module.key_value, module.widths[1:])
            else:
                _xavier(module.qkv, module.widths)
            _xavier(module.output, gain=gain)
        elif isinstance(module, FeedForward):
            _xavier(module.input, module.widths)
            _xavier(module.output, gain=gain)


@torch.no_grad()
def initialize_embedding(embedding: nn.Embedding) -> None:
    """Normal with standard deviation D^-0.5: of size one once scaled by D^0.5."""
    nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)


@torch.no_grad()
def soften_output(stack: Stack, d_model: int) -> None:
    """Let a head that is tied to the stack's embeddings start near even probabilities.

    Through its residual connections a stack's output resembles the embedding of its own input
    token, so a tied head would bet on that token with a logit near D^0.5, and the first loss would
    lie far above ln V. The last norm starts with a gain of D^-0.25 instead of 1; D^-0.5 would be
    safer still, but learns later (docs/notes/speed.md).
    """
    norm = stack.norm
    if norm is None:
        last = stack.layers[-1]
        assert isinstance(last, Block)
        norm = last.feed_forward_residual.norm
    nn.init.constant_(norm.get_parameter("weight"), d_model**-0.25)


def _xavier(linear: nn.Linear, widths: Sequence[int] = (), *, gain: float = 1.0) -> None:
    """Fused projections, whose outputs are `widths` wide, are drawn one by one."""
    for weight in linear.weight.split(widths or linear.out_features):
        nn.init.xavier_uniform_(weight, gain=gain)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
