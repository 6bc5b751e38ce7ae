"""Slots with an encoder-decoder: all that is open goes on by a token in one CUDA graph.

Legend: B slots, b sentences, S source length, L room of a slot in tokens.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from heed.backbone.transformer import Transformer
from heed.decoding.captured import captured, sent
from heed.decoding.decoder import Ids
from heed.decoding.slots import Found, Rules, SlotSearch
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.slot_model import Size, SlotDecoder, SlotReader


class Readable(Protocol):
    """Sentences that are to be written for."""

    def __len__(self) -> int:
        """b."""
        ...

    def given(self) -> tuple[Tensor, Tensor, Tensor]:
        """(b, S) ids and (b,) lengths of their sources, and (b,) the most tokens of each output."""
        ...


class SlotPool:
    """See `heed.decoding.slot_stream.Pool`.

    Args:
        backbone: An encoder-decoder.
        head: Its head.
        rules: How it searches.
        ids: The tokens that are not words.
        size: B, L and S.
        reads: Sentences that are read at once.
        dtype: What it computes in.
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
        reads: int,
        dtype: torch.dtype,
    ) -> None:
        self.size, self.slots = size, size.slots
        self.device = head.output.weight.device
        step = SlotDecoder(backbone, head, size=size, beams=rules.beam_size, dtype=dtype)
        search = SlotSearch(rules, ids, slots=size.slots, room=size.room, device=self.device)
        self.step, self.search, self.open = step, search, search.open
        self._turn = captured(lambda: search.turn(step), self.device)
        self._read = SlotReader(backbone, step, rows=reads, width=size.memory_room)

    @torch.inference_mode()
    def renew(self) -> None:
        """Take the weights as they are now, and close all slots."""
        self.open.zero_()
        self.step.stack.renew()
        self._read.stack.renew()

    @torch.inference_mode()
    def begin(self, slots: list[int], batch: Readable) -> None:
        """See `Pool`."""
        ids, lengths, limits = batch.given()
        where = sent(slots, self.device)
        self._read(where, ids, lengths)
        self.search.begin(where, limits)

    @torch.inference_mode()
    def turn(self) -> None:
        """See `Pool`."""
        self._turn()

    @torch.inference_mode()
    def found(self, slots: list[int]) -> Found:
        """See `Pool`."""
        return self.search.found(sent(slots, self.device))
