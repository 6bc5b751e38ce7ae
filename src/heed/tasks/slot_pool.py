"""Slots with an encoder-decoder: all that is open goes on by a token in one CUDA graph.

Legend: B slots, K beams, N = B * K rows, b sentences, S source length, D model width, L room of a
slot in tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from heed.backbone.block import Block
from heed.backbone.layout import Padded
from heed.backbone.slot_cache import SlotCache
from heed.backbone.transformer import Transformer
from heed.decoding.captured import captured, sent
from heed.decoding.decoder import Ids
from heed.decoding.slots import Found, Rules, SlotSearch
from heed.heads.vocabulary import VocabularyHead


class Size(NamedTuple):
    """What a pool has room for.

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


class Readable(Protocol):
    """Sentences that are to be written for."""

    def __len__(self) -> int:
        """b."""
        ...

    def read(self) -> tuple[Tensor, Padded, Tensor]:
        """The memories (b, S, D) of their sources, how they lie, and (b,) the most tokens of each
        output."""
        ...


class SlotDecoder:
    """A copy of a decoder and its head, in the precision that it computes in; a `SlotStep`.

    Its weights lie where they are, so that a CUDA graph can read them; `renew` copies new ones.

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
        decoder = backbone.decoder
        assert decoder is not None
        self.dtype, self.room = dtype, size.room
        device = head.output.weight.device
        # Embeddings are added up in their own precision.
        self.embeddings = copy.deepcopy(decoder.embeddings).eval()
        self.rotary = copy.deepcopy(decoder.rotary)
        rest = nn.ModuleList([*decoder.layers, decoder.norm or nn.Identity(), head])
        self.rest = copy.deepcopy(rest).to(dtype).eval()
        *layers, self.norm, self.head = self.rest
        self.layers = [layer for layer in layers if isinstance(layer, Block)]
        self._given: list[Tensor] = [*decoder.embeddings.parameters(), *rest.parameters()]
        self._own: list[Tensor] = [*self.embeddings.parameters(), *self.rest.parameters()]
        attention = self.layers[0].self_attention
        self.cache = SlotCache(
            layers=len(self.layers),
            slots=size.slots,
            beams=beams,
            room=size.room,
            memory_room=size.memory_room,
            groups=attention.widths[1] // attention.head_width,
            head_width=attention.head_width,
            dtype=dtype,
            device=device,
        )
        self.readers = [one for layer in self.layers if (one := layer.cross_attention) is not None]
        for layer, reader, cache in zip(self.layers, self.readers, self.cache.layers, strict=True):
            layer.self_attention.kernel = cache.attend
            reader.kernel = cache.attend_memory

    def renew(self) -> None:
        """Take the weights as they are now."""
        torch._foreach_copy_(self._own, [weight.detach() for weight in self._given])

    def read(self, slots: Tensor, memory: Tensor, lengths: Tensor) -> None:
        """Let slots (b,) look at memories (b, S, D) of these lengths (b,)."""
        with torch.autocast(memory.device.type, enabled=False):
            memory = memory.to(self.dtype)
            kept = [reader.of_memory(memory) for reader in self.readers]
        self.cache.read(slots, lengths, kept)

    def __call__(self, tokens: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
        """See `SlotStep`."""
        self.cache.look(positions, rows)
        with torch.autocast(tokens.device.type, enabled=False):
            places = positions[:, None].expand_as(tokens).reshape(-1, 1)  # (N, 1)
            x = self.embeddings(tokens.view(-1, 1), places, self.room).to(self.dtype)  # (N, 1, D)
            rotation = None if self.rotary is None else self.rotary(places)
            for layer, cache in zip(self.layers, self.cache.layers, strict=True):
                x = layer(x, rotation=rotation, cache=cache)
            return self.head(self.norm(x)[:, 0])  # (N, V)


class SlotPool:
    """Slots with a model, a turn of which is one CUDA graph; see `heed.decoding.slot_stream.Pool`.

    Args:
        backbone: An encoder-decoder.
        head: Its head.
        rules: How it searches.
        ids: The tokens that are not words.
        size: B, L and S.
        dtype: What the decoder computes in.
    """

    @torch.inference_mode()
    def __init__(
        self,
        backbone: Transformer,
        head: VocabularyHead,
        *,
        rules: Rules,
        ids: Ids,
        size: Size,
        dtype: torch.dtype,
    ) -> None:
        self.size, self.slots = size, size.slots
        self.device = head.output.weight.device
        self.step = SlotDecoder(backbone, head, size=size, beams=rules.beam_size, dtype=dtype)
        self.search = SlotSearch(rules, ids, slots=size.slots, room=size.room, device=self.device)
        self.open = self.search.open
        self._turn = captured(lambda: self.search.turn(self.step), self.device)

    @torch.inference_mode()
    def renew(self) -> None:
        """Take the weights as they are now, and close all slots."""
        self.open.zero_()
        self.step.renew()

    @torch.inference_mode()
    def begin(self, slots: list[int], batch: Readable) -> None:
        """See `Pool`."""
        memory, layout, limits = batch.read()
        where = sent(slots, self.device)
        self.step.read(where, memory, layout.lengths)
        self.search.begin(where, limits)

    @torch.inference_mode()
    def turn(self) -> None:
        """See `Pool`."""
        self._turn()

    @torch.inference_mode()
    def found(self, slots: list[int]) -> Found:
        """See `Pool`."""
        return self.search.found(sent(slots, self.device))
