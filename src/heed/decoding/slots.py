"""Beam search in which nothing changes its shape, so that a turn can be captured as one CUDA graph.

A slot is a place for one sentence and its beams. A sentence stays in its slot until it has ended,
while others begin and end beside it; a slot without an open sentence is computed too, and changes
nothing. A turn never asks the device for a number. What it chooses is what `BeamSearch` and
`RowSearch` choose, which are the reference.

Keys and values stay where they were written. In their place, each beam keeps in which row of its
sentence each of its positions lies: to reorder beams is to gather these numbers.

Legend: B slots, K beams, N = B * K rows, C = 2K candidates, L the room of a slot in tokens, V
vocabulary, b sentences that begin or end.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from heed.decoding.beam import BeamDecoder
from heed.decoding.continuations import continuations
from heed.decoding.decoder import Decoder, Ids, never_written
from heed.decoding.greedy import GreedyDecoder


class Rules(NamedTuple):
    """What a slot search does; see `BeamDecoder`."""

    beam_size: int
    length_penalty: float
    early_stopping: bool
    n_best: int
    min_length: int


def rules_of(decoder: Decoder) -> Rules | None:
    """The rules of a decoder; None where slots cannot do what it does.

    Greedy search is a beam of one that stops at its first end of sentence.
    """
    if decoder.no_repeat_ngram_size:
        return None
    if type(decoder) is GreedyDecoder:
        return Rules(1, 0.0, True, 1, decoder.min_length)
    if type(decoder) is BeamDecoder:
        return Rules(
            decoder.beam_size,
            decoder.length_penalty,
            decoder.early_stopping,
            decoder.n_best,
            decoder.min_length,
        )
    return None


class SlotStep(Protocol):
    """One step of a model whose rows stay where they are."""

    def __call__(self, tokens: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
        """Append one token to every row and predict the next.

        Args:
            tokens: (B, K) the newest token of each row.
            positions: (B,) its position, below L.
            rows: (B, K, L) in which row of its sentence, below K, each earlier position of a beam
                lies. A beam's newest position lies in its own row.

        Returns:
            (N, V) logits of the next token, which the search may write into.
        """
        ...


class Found(NamedTuple):
    """What sentences ended with, best first.

    Attributes:
        scores: (b, n_best), -inf where there is none.
        lengths: (b, n_best) tokens.
        tokens: (b, n_best, L).
    """

    scores: Tensor
    lengths: Tensor
    tokens: Tensor


class SlotSearch:
    """The sentences in B slots.

    Args:
        rules: What it does.
        ids: The tokens that are not words.
        slots: B.
        room: L, at least the most tokens of any sentence.
        device: Where it is kept.
    """

    def __init__(
        self, rules: Rules, ids: Ids, *, slots: int, room: int, device: torch.device | str
    ) -> None:
        self.rules, self.ids, self.room = rules, ids, room
        self.never = never_written(ids)
        beams = rules.beam_size

        def numbers(*shape: int) -> Tensor:
            return torch.zeros(slots, *shape, dtype=torch.long, device=device)

        def scores() -> Tensor:
            return torch.full((slots, beams), -torch.inf, device=device)

        self.open = torch.zeros(slots, dtype=torch.bool, device=device)
        """(B,) whether there is a sentence that has not ended."""
        self.limits, self.lengths = numbers(), numbers()  # (B,) most tokens, and tokens written
        self.scores, self.tokens = scores(), numbers(beams)  # (B, K) of each beam
        self.written, self.rows = numbers(beams, room), numbers(beams, room)  # (B, K, L)
        self.own = torch.arange(beams, device=device).expand(slots, -1)  # (B, K)
        # What has ended, best first.
        self.finished = Found(scores(), numbers(beams), numbers(beams, room))

    def begin(self, slots: Tensor, limits: Tensor) -> None:
        """Put sentences in slots.

        Args:
            slots: (b,) where nothing is open.
            limits: (b,) most tokens of each, at least 1 and at most L.
        """
        self.open[slots] = True
        self.limits[slots] = limits
        self.lengths[slots] = 0
        first = torch.full_like(self.scores[0], -torch.inf)
        first[0] = 0.0  # until the first token is chosen all beams are the same
        self.scores[slots] = first
        self.tokens[slots] = self.ids.bos
        self.rows[slots] = self.own[0, :, None]
        self.finished.scores[slots] = -torch.inf

    def found(self, slots: Tensor) -> Found:
        """What the sentences in slots (b,) have ended with so far."""
        n_best = self.rules.n_best
        return Found(*(part[slots, :n_best] for part in self.finished))

    def turn(self, step: SlotStep) -> None:
        """One token for every beam of every open sentence."""
        rules = self.rules
        positions = self.lengths.clamp(max=self.room - 1)  # (B,)
        logits = step(self.tokens, positions, self.rows)  # (N, V)
        gains, parents, tokens = continuations(
            logits,
            self.scores,
            count=2 * rules.beam_size,
            never=self.never,
            eos=self.ids.eos,
            may_end=self.lengths >= rules.min_length,
        )  # (B, C) each
        length = (self.lengths + 1)[:, None]
        at_limit = self.limits[:, None] <= length  # (B, 1)
        ends = (tokens == self.ids.eos) | at_limit  # (B, C)
        self._finish(gains, parents, tokens, ends=ends, length=length, positions=positions)

        scores, chosen = gains.masked_fill(ends, -torch.inf).topk(rules.beam_size, dim=-1)
        self._go_on(parents.gather(1, chosen), tokens.gather(1, chosen), positions)
        self.scores.copy_(scores)
        self.lengths += self.open
        self.open &= ~(at_limit.squeeze(1) | self._decided(length))

    def _finish(
        self,
        gains: Tensor,
        parents: Tensor,
        tokens: Tensor,
        *,
        ends: Tensor,
        length: Tensor,
        positions: Tensor,
    ) -> None:
        """Keep the K best of what had ended and of those of the K likeliest candidates that end."""
        beams, finished = self.rules.beam_size, self.finished
        gains, parents, tokens = gains[:, :beams], parents[:, :beams], tokens[:, :beams]
        penalised = gains / length.float() ** self.rules.length_penalty  # (B, K)
        penalised = penalised.masked_fill(~(ends[:, :beams] & self.open[:, None]), -torch.inf)
        outputs = _extended(self.written, parents, tokens, positions)  # (B, K, L)
        lengths = length - (tokens == self.ids.eos).long()
        scores, kept = torch.cat((finished.scores, penalised), dim=1).topk(beams, dim=1)
        finished.scores.copy_(scores)
        finished.lengths.copy_(torch.cat((finished.lengths, lengths), dim=1).gather(1, kept))
        finished.tokens.copy_(_select(torch.cat((finished.tokens, outputs), dim=1), kept))

    def _go_on(self, parents: Tensor, tokens: Tensor, positions: Tensor) -> None:
        """Beams (B, K) go on from their parents with their tokens."""
        self.tokens.copy_(tokens)
        self.written.copy_(_extended(self.written, parents, tokens, positions))
        after = (positions + 1).clamp(max=self.room - 1)
        self.rows.copy_(_extended(self.rows, parents, self.own, after))

    def _decided(self, length: Tensor) -> Tensor:
        """(B,) whether nothing that is still open can change what a sentence gives back; see
        `BeamSearch`."""
        rules = self.rules
        longest = self.limits if rules.length_penalty >= 0 else length.squeeze(1) + 1
        attainable = self.scores[:, 0] / longest.float() ** rules.length_penalty
        decided = attainable <= self.finished.scores[:, rules.n_best - 1]
        if rules.early_stopping:
            decided = decided | self.finished.scores[:, -1].isfinite()
        return decided


def _select(values: Tensor, chosen: Tensor) -> Tensor:
    """(B, M, L) values, (B, K) numbers below M -> (B, K, L)."""
    return values.gather(1, chosen[:, :, None].expand(-1, -1, values.shape[-1]))


def _extended(values: Tensor, parents: Tensor, last: Tensor, places: Tensor) -> Tensor:
    """The parents' values (B, K, L), with `last` (B, K) at the places (B,)."""
    where = places[:, None, None].expand(-1, parents.shape[1], 1)
    return _select(values, parents).scatter_(2, where, last[:, :, None])
