"""How an encoder-decoder writes on a GPU: in slots, where that can be done, or else as elsewhere.

Legend: B slots, K beams, b sentences, S source length, D model width, L room of a slot in tokens.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.block import Block
from heed.backbone.kernels import KERNELS
from heed.backbone.positions import LearnedPositions
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch
from heed.decoding.decoder import Decoder, Ids
from heed.decoding.slot_stream import write
from heed.decoding.slots import Rules, rules_of
from heed.decoding.step import Hypothesis
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.slot_model import Size
from heed.tasks.slot_pool import SlotPool

DEVICES = ["cuda"]
"""Where slots are used. Elsewhere sentences that have ended had better leave."""
MOST_POOLS = 4
"""Pools that are kept; the one that was not used for the longest time goes."""
MEMORY_SHARE = 0.5
"""Of the device's free memory that a pool may take."""
LEAST = Size(slots=8, room=32, memory_room=32)
OURS = ("heed.backbone.", "heed.heads.", "torch.nn.modules.")
"""Where the modules of a model that slots can copy are from."""

Hypotheses = list[list[Hypothesis]]
Kind = tuple[Rules, Ids, torch.dtype]
"""What a pool is for."""


class SlotWriter:
    """Writes batches in slots, in pools that are kept for the batches to come.

    Args:
        backbone: A Transformer.
        head: Its head.
    """

    def __init__(self, backbone: Transformer, head: VocabularyHead) -> None:
        self.backbone, self.head = backbone, head
        self._pools: OrderedDict[tuple[Kind, Size], SlotPool] = OrderedDict()
        self._failed = False

    def takes(self, decoder: Decoder) -> bool:
        """Whether slots can do what a decoder and the model do, here and now."""
        rules = rules_of(decoder)
        return (
            rules is not None
            and not self._failed
            and self.head.output.weight.device.type in DEVICES
            and 2 * rules.beam_size <= self.head.output.out_features
            and is_plain(self.backbone, self.head)
        )

    def write(
        self,
        batches: Iterable[Any],
        decoder: Decoder,
        ids: Ids,
        *,
        otherwise: Callable[[Any], Hypotheses],
    ) -> Iterator[Hypotheses]:
        """Write batches with a decoder that this `takes`, each beginning where room is left.

        Args:
            batches: Made one after another, when they are to begin.
            decoder: What is done.
            ids: The tokens that are not words.
            otherwise: Writes a batch for which slots have no room.

        Yields:
            The hypotheses of each batch, in their order.
        """
        rules = rules_of(decoder)
        assert rules is not None
        several = not isinstance(batches, (list, tuple)) or len(batches) > 1
        coming = Coming(Asked(batch, decoder) for batch in batches)
        while coming.next is not None:
            kind = (rules, ids, dtype_of(self.head))
            pool = self._pool(coming.next, kind, several=several)
            if pool is None:
                yield otherwise(coming.take().batch)
                continue
            pool.renew()
            try:
                yield from write(pool, coming.take_while(pool.size))
            finally:
                self._keep(kind, pool)

    def forget(self) -> None:
        """Give the memory of all pools back."""
        self._pools.clear()

    def _pool(self, asked: Asked, kind: Kind, *, several: bool) -> SlotPool | None:
        """The smallest pool that holds a batch, made if there is none; None if it has no room. It
        is nobody else's until it is kept again."""
        wanted = asked.size._replace(slots=asked.size.slots * (2 if several else 1))
        holding = [key for key in self._pools if key[0] == kind and key[1].holds(wanted)]
        if holding:
            return self._pools.pop(
                min(holding, key=lambda key: key[1].slots * (key[1].room + key[1].memory_room))
            )
        rules, ids, dtype = kind
        size = self._rounded(asked.size, meeting=2 if several else 1)
        needed = bytes_of(size, self.backbone, rules)
        while self._pools and needed > MEMORY_SHARE * free_bytes(self.head):
            self._pools.popitem(last=False)
        too_large = needed > MEMORY_SHARE * free_bytes(self.head)
        if self._failed or too_large or not size.holds(asked.size):
            return None
        given: dict[str, Any] = {"rules": rules, "ids": ids, "size": size, "dtype": dtype}
        reads = size.slots // 2 if several else size.slots
        try:
            return SlotPool(self.backbone, self.head, reads=reads, **given)
        except Exception as failure:  # of the driver, of a library, of a compiler
            self._failed = True
            warnings.warn(
                "decoding cannot be captured as a CUDA graph here, so it is launched step by step, "
                f"more slowly: {str(failure)[:300]}",
                stacklevel=2,
            )
            return None

    def _keep(self, kind: Kind, pool: SlotPool) -> None:
        self._pools[kind, pool.size] = pool
        while len(self._pools) > MOST_POOLS:
            self._pools.popitem(last=False)

    def _rounded(self, size: Size, *, meeting: int) -> Size:
        """Powers of two, so that few pools serve all batches, and slots for several batches that
        may meet; but no more positions than the model has."""
        needed = size._replace(slots=size.slots * meeting)
        slots, *rooms = (max(pair) for pair in zip(LEAST, map(_power, needed), strict=True))
        stacks = (self.backbone.decoder, self.backbone.encoder)
        for i, stack in enumerate(stacks):
            assert stack is not None
            if isinstance(stack.embeddings.positions, LearnedPositions):
                rooms[i] = min(rooms[i], stack.embeddings.positions.weight.shape[0])
        return Size(slots, *rooms)

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a model has pools of its own: CUDA graphs cannot be copied."""
        return {**self.__dict__, "_pools": OrderedDict()}


class Asked:
    """A batch that is to be written; see `heed.tasks.slot_pool.Readable`.

    Args:
        batch: Sources.
        decoder: Says how much may be written.
    """

    def __init__(self, batch: PairBatch, decoder: Decoder) -> None:
        self.batch, self.decoder = batch, decoder
        width = batch.source.layout.width
        # Known on the host: no source is longer than the width.
        longest = int(decoder.max_lengths(torch.tensor([width]))[0])
        self.size = Size(len(batch), longest, width)

    def __len__(self) -> int:
        return len(self.batch)

    def given(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `Readable`."""
        lengths = self.batch.source.layout.lengths
        return self.batch.source.ids, lengths, self.decoder.max_lengths(lengths)


class Coming:
    """Batches of which the next one is known before it is taken."""

    def __init__(self, batches: Iterator[Asked]) -> None:
        self._batches = batches
        self.next: Asked | None = next(batches, None)

    def take(self) -> Asked:
        """The next one."""
        taken, self.next = self.next, None
        assert taken is not None
        self.next = next(self._batches, None)
        return taken

    def take_while(self, size: Size) -> Iterator[Asked]:
        """The next ones, up to the first that does not fit."""
        while self.next is not None and size.holds(self.next.size):
            yield self.take()


def is_plain(backbone: Transformer, head: VocabularyHead) -> bool:
    """Whether slots can do what a model does: an encoder-decoder whose attention is the plain one,
    with all of its weights here, and nobody who watches or changes its parts."""
    stacks = [stack for stack in (backbone.encoder, backbone.decoder) if stack is not None]
    modules = [part for whole in (*stacks, head) for part in whole.modules()]
    attentions = [part for part in modules if isinstance(part, MultiHeadAttention)]
    return (
        len(stacks) == 2
        and all(stack.position_bias is None for stack in stacks)
        and all(isinstance(layer, Block) for stack in stacks for layer in stack.layers)
        and all(window is None for stack in stacks for window in stack.windows)
        and all(part.kernel in KERNELS.values() for part in attentions)
        and not any(part._forward_hooks or part._forward_pre_hooks for part in modules)
        and all(type(part).__module__.startswith(OURS) for part in modules)
        and all(type(weight) is nn.Parameter for part in modules for weight in part.parameters())
    )


def dtype_of(head: VocabularyHead) -> torch.dtype:
    """What a model computes in now."""
    kind = head.output.weight.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return head.output.weight.dtype


def bytes_of(size: Size, backbone: Transformer, rules: Rules) -> int:
    """About what a pool takes: keys, values and logits."""
    assert backbone.decoder is not None
    first = backbone.decoder.layers[0]
    assert isinstance(first, Block)
    positions = size.slots * (rules.beam_size * size.room + size.memory_room)
    of_cache = 2 * len(backbone.decoder.layers) * first.self_attention.widths[1] * positions
    return 4 * (of_cache + 2 * size.slots * rules.beam_size * backbone.target_vocabulary_size)


def free_bytes(head: VocabularyHead) -> float:
    """Of the device's memory, what torch's allocator keeps unused included."""
    device = head.output.weight.device
    if device.type != "cuda":
        return float("inf")
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
