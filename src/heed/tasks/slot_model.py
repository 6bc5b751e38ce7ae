"""An encoder-decoder in slots: copies of its parts, in the precision that they compute in, whose
weights lie where they are, so that CUDA graphs can read them.

Legend: B slots, K beams, N = B * K rows, R sentences read at once, b of them real, S source length,
T positions, D model width, G groups of heads, W head width, L room of a slot in tokens, V
vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heed.backbone.block import Block
from heed.backbone.layout import Padded
from heed.backbone.packed import visible
from heed.backbone.slot_cache import SlotCache
from heed.backbone.stack import Stack
from heed.backbone.transformer import Transformer
from heed.decoding.captured import captured
from heed.heads.vocabulary import VocabularyHead


class Size(NamedTuple):
    """What slots have room for.

    Attributes:
        slots: B.
        room: L, tokens of a sentence.
        memory_room: S, tokens of a source.
    """

    slots: int
    room: int
    memory_room: int

    def holds(self, other: Size) -> bool:
        """Whether there is room for all of another."""
        return all(own >= needed for own, needed in zip(self, other, strict=True))


class StackCopy:
    """A copy of a stack, whose embeddings are added up in their own precision.

    Args:
        stack: Without windows and biases on the scores.
        dtype: What its blocks compute in.
        head: Copied too; None: there is none.
    """

    def __init__(self, stack: Stack, dtype: torch.dtype, head: nn.Module | None = None) -> None:
        self.dtype = dtype
        blocks = nn.ModuleList([*stack.layers, stack.norm or nn.Identity(), head or nn.Identity()])
        self._given = (stack.embeddings, blocks)
        self.embeddings = copy.deepcopy(stack.embeddings).eval()
        self.rotary = copy.deepcopy(stack.rotary)
        self._blocks = copy.deepcopy(blocks).to(dtype).eval()
        *layers, self.norm, self.head = self._blocks
        self.layers = [layer for layer in layers if isinstance(layer, Block)]
        self._taken = self._versions()

    def renew(self) -> None:
        """Take the weights as they are now."""
        versions = self._versions()
        if versions != self._taken:
            own: list[Tensor] = [*self.embeddings.parameters(), *self._blocks.parameters()]
            torch._foreach_copy_(own, [weight.detach() for weight in self._weights()])
            self._taken = versions

    def _weights(self) -> list[Tensor]:
        return [weight for part in self._given for weight in part.parameters()]

    def _versions(self) -> list[tuple[int, int]]:
        """What differs once weights have been changed in place, or others put in their place."""
        return [
            (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
            for weight in self._weights()
        ]

    def __call__(
        self, ids: Tensor, positions: Tensor, *, width: int, caches: Sequence[Any], **given: Any
    ) -> Tensor:
        """(B, T) ids -> (B, T, D), as `Stack.forward`, with the cache of each layer."""
        with torch.autocast(ids.device.type, enabled=False):
            x = self.embeddings(ids, positions, width).to(self.dtype)
            rotation = None if self.rotary is None else self.rotary(positions)
            for layer, cache in zip(self.layers, caches, strict=True):
                x = layer(x, rotation=rotation, cache=cache, **given)
            return self.norm(x)


class SlotDecoder:
    """A decoder with its head; a `SlotStep`.

    Args:
        backbone: An encoder-decoder whose attention is the plain one.
        head: Its head.
        size: B, L and S.
        beams: K.
        dtype: What it computes in.
    """

    def __init__(
        self,
        backbone: Transformer,
        head: VocabularyHead,
        *,
        size: Size,
        beams: int,
        dtype: torch.dtype,
    ) -> None:
        assert backbone.decoder is not None
        self.room = size.room
        self.stack = StackCopy(backbone.decoder, dtype, head)
        attention = self.stack.layers[0].self_attention
        self.cache = SlotCache(
            layers=len(self.stack.layers),
            slots=size.slots,
            beams=beams,
            room=size.room,
            memory_room=size.memory_room,
            groups=attention.widths[1] // attention.head_width,
            head_width=attention.head_width,
            dtype=dtype,
            device=head.output.weight.device,
        )
        crossing = [layer.cross_attention for layer in self.stack.layers]
        self.readers = [attention for attention in crossing if attention is not None]
        for layer, reader, cache in zip(
            self.stack.layers, self.readers, self.cache.layers, strict=True
        ):
            layer.self_attention.kernel = cache.attend
            reader.kernel = cache.attend_memory

    def __call__(self, tokens: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
        """See `SlotStep`."""
        self.cache.look(positions, rows)
        places = positions[:, None].expand_as(tokens).reshape(-1, 1)  # (N, 1)
        caches = self.cache.layers
        hidden = self.stack(tokens.view(-1, 1), places, width=self.room, caches=caches)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.stack.head(hidden[:, 0])  # (N, V)


class SlotReader:
    """An encoder, and what a decoder keeps of what it has read, as one CUDA graph.

    Args:
        backbone: The encoder's.
        decoder: The decoder's copy.
        rows: R.
        width: S.
    """

    def __init__(
        self, backbone: Transformer, decoder: SlotDecoder, *, rows: int, width: int
    ) -> None:
        assert backbone.encoder is not None
        self.rows, self.width, self.decoder = rows, width, decoder
        self.stack = StackCopy(backbone.encoder, decoder.stack.dtype)
        device = decoder.cache.keys.device
        self.ids = torch.zeros(rows, width, dtype=torch.long, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.kept: list[tuple[Tensor, Tensor]] = []  # of each layer, (R, G, S, W) each
        self._work = captured(self._read, device)

    def _read(self) -> None:
        layout = Padded(self.lengths, self.width, full=False)
        mask, nothing = visible(layout, layout), [None] * len(self.stack.layers)
        positions = layout.positions()
        memory = self.stack(
            self.ids, positions, width=self.width, caches=nothing, mask=mask
        )  # (R, S, D)
        with torch.autocast(memory.device.type, enabled=False):
            self.kept = [reader.of_memory(memory) for reader in self.decoder.readers]

    def __call__(self, slots: Tensor, ids: Tensor, lengths: Tensor) -> None:
        """Let the decoder's slots (b,) look at sources (b, S') of these lengths (b,)."""
        for first in range(0, len(slots), self.rows):
            part = slice(first, first + self.rows)
            count = len(slots[part])
            self.lengths.zero_()
            self.lengths[:count] = lengths[part]
            self.ids[:count, : ids.shape[1]] = ids[part]
            self._work()
            kept = [(key[:count], value[:count]) for key, value in self.kept]
            self.decoder.cache.read(slots[part], lengths[part], kept)
