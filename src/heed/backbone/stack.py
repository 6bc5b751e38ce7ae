"""A stack of blocks over embeddings: what an encoder and a decoder have in common.

Legend: B batch, T positions, S memory length, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from heed.backbone.block import Block, ParallelBlock
from heed.backbone.cache import KeyValueCache
from heed.backbone.embeddings import Embeddings
from heed.backbone.packed import Segments
from heed.backbone.position_bias import AlibiBias, BucketBias
from heed.backbone.positions import RotaryPositions
from heed.backbone.windowed import near


class Stack(nn.Module):
    """Embeddings, blocks, and a final norm where the blocks end without one.

    Args:
        embeddings: From token numbers to vectors.
        rotary: Turns queries and keys to their positions; None where others tell the positions.
        local_rotary: The same for layers with a window; None: as the others.
        position_bias: Tells them by a number added to the scores, the same in all layers; None for
            none.
        layers: The blocks.
        norm: The norm after the last block (pre-norm stacks); None for none.
        windows: How far each layer's self attention sees to each side; None: everywhere.
        checkpointing: Whether training keeps only what goes into each block and computes the rest
            again for the backward pass (Chen et al. 2016).
        layer_dropout: Probability that a row skips a block while training (Fan et al. 2020). The
            rows decide one by one, so every parameter gets a gradient on every process.
    """

    def __init__(
        self,
        *,
        embeddings: Embeddings,
        rotary: RotaryPositions | None,
        local_rotary: RotaryPositions | None = None,
        position_bias: AlibiBias | BucketBias | None,
        layers: Sequence[Block | ParallelBlock],
        norm: nn.Module | None,
        windows: Sequence[int | None],
        checkpointing: bool,
        layer_dropout: float,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.rotary = rotary
        self.local_rotary = local_rotary
        self.position_bias = position_bias
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.windows = tuple(windows)
        self.checkpointing = checkpointing
        self.layer_dropout = layer_dropout

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        *,
        width: int,
        mask: Tensor | Segments | None = None,
        causal: bool = False,
        memory: Tensor | None = None,
        memory_mask: Tensor | Segments | None = None,
        cache: KeyValueCache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Run the stack.

        Args:
            ids: (B, T) long.
            positions: (T,) or (B, T) long, the position of each token in its row.
            width: More than the highest position.
            mask: Of the self attention, broadcastable to (B, 1, T, keys), True "may attend"; or
                segments, B being 1.
            causal: Position t sees 0..t only.
            memory: (B, S, D) for cross attention.
            memory_mask: Of the cross attention.
            cache: Earlier keys and values, one entry a layer.
            segments: (B, T) long, see `Embeddings.forward`.

        Returns:
            (B, T, D).
        """
        x = self.embeddings(ids, positions, width, segments)
        rotation = None if self.rotary is None else self.rotary(positions)
        local_rotation = rotation if self.local_rotary is None else self.local_rotary(positions)
        bias = None
        if self.position_bias is not None:
            of_queries = positions
            if isinstance(mask, Segments):  # the bias is of rows, not of the long row
                of_queries = torch.arange(mask.queries.longest, device=positions.device)
            bias = self.position_bias(of_queries, _key_positions(of_queries, cache))
        masks = self._masks(mask, positions, cache)
        checkpointing = self.checkpointing and self.training and cache is None
        for i, layer in enumerate(self.layers):
            apply: Callable[..., Tensor] = layer
            if checkpointing and torch.is_grad_enabled():
                apply = partial(checkpoint, layer, use_reentrant=False)
            y = apply(
                x,
                mask=masks[self.windows[i]],
                bias=bias,
                causal=causal,
                rotation=rotation if self.windows[i] is None else local_rotation,
                memory=memory,
                memory_mask=memory_mask,
                cache=None if cache is None else cache.layers[i],
            )
            if self.training and self.layer_dropout > 0.0:
                y = torch.where(self._kept_rows(x, mask), y, x)
            x = y
        return x if self.norm is None else self.norm(x)

    def _kept_rows(self, x: Tensor, mask: Tensor | Segments | None) -> Tensor:
        """(B, 1, 1) or, of packed rows, (1, N, 1) bool: who does not skip a block."""
        rows = mask.queries.rows + 1 if isinstance(mask, Segments) else x.shape[0]
        kept = torch.rand(rows, 1, 1, device=x.device) >= self.layer_dropout
        return kept[mask.queries.segments(), 0][None] if isinstance(mask, Segments) else kept

    def _masks(
        self, mask: Tensor | Segments | None, positions: Tensor, cache: KeyValueCache | None
    ) -> dict[int | None, Tensor | Segments | None]:
        """The mask for each window. A windowed kernel sees by itself what is near, unless the mask
        differs from query to query or, with a cache, columns may be no positions: then it says it.
        """
        masks: dict[int | None, Tensor | Segments | None] = dict.fromkeys(
            (None, *self.windows), mask
        )
        if isinstance(mask, Segments):
            assert cache is None, "packed rows have no cache"
            return masks
        if cache is None and (mask is None or mask.shape[-2] == 1):
            return masks
        for window in masks:
            if window is not None:
                within = near(positions, _key_positions(positions, cache), window)
                masks[window] = within if mask is None else within & mask
        return masks


def _key_positions(positions: Tensor, cache: KeyValueCache | None) -> Tensor:
    return positions if cache is None else cache.positions()
