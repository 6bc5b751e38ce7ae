"""Searches in which no row looks at another: greedy search and sampling.

Legend: B sentences, R rows a sentence, N = B * R rows (n of them still open), V vocabulary,
T tokens written so far.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from heed.decoding.decoder import Decoder, Ids, never_written
from heed.decoding.step import Hypothesis

# Rows that have ended leave once they are this share of the rows computed: leaving copies the
# cache, and every new number of rows makes some kernels be built anew.
LEAVING_SHARE = 0.25


class RowSearch:
    """Each row is written token by token until its end of sentence or its limit; see `Search`.

    Args:
        decoder: Gives the forbidden tokens.
        choose: (n, V) logits, forbidden tokens at -inf -> (n,) tokens.
        limits: (B,) the most tokens of each sentence.
        ids: The tokens that are not words.
        rows_per_sentence: R.
        with_scores: Whether to sum up log probabilities; if not, scores are 0, or -inf.
    """

    def __init__(
        self,
        decoder: Decoder,
        choose: Callable[[Tensor], Tensor],
        limits: Tensor,
        ids: Ids,
        *,
        rows_per_sentence: int,
        with_scores: bool,
    ) -> None:
        self.decoder = decoder
        self.choose = choose
        self.ids = ids
        self.never = never_written(ids)
        self.rows_per_sentence = rows_per_sentence
        self.with_scores = with_scores
        device, sentences = limits.device, len(limits)
        rows = sentences * rows_per_sentence
        longest = int(limits.max()) if sentences else 0
        self.sentences = torch.arange(sentences, device=device).repeat_interleave(rows_per_sentence)
        self.limits = limits[self.sentences]  # (N,)
        self.position = 0
        self.output = torch.full((rows, longest), ids.pad, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.scores = torch.zeros(rows, device=device)
        self.open_rows = torch.arange(rows, device=device)  # (n,) where each is in the output
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)  # (n,)
        self.tokens = torch.full((sentences,), ids.bos, device=device)

    def advance(self, logits: Tensor) -> Tensor | None:
        """See `Search.advance`."""
        position, rows = self.position, None
        if position == 0 and self.rows_per_sentence > 1:  # until here those of a sentence are one
            rows, logits = self.sentences, logits[self.sentences]
        normaliser = logits.logsumexp(dim=-1) if self.with_scores else 0.0
        written = self.output[self.open_rows, :position]  # (n, T)
        self.decoder.forbid(logits, written, never=self.never, eos_id=self.ids.eos)
        tokens = self.choose(logits)
        gain = logits.gather(1, tokens[:, None]).squeeze(1) - normaliser
        # A row for which nothing is allowed ends where it is, with a score of -inf.
        writes = ~self.ended & (tokens != self.ids.eos) & gain.isfinite()
        if not self.with_scores:
            gain = gain.masked_fill(gain.isfinite(), 0.0)
        self.scores[self.open_rows] += gain.masked_fill(self.ended, 0.0)
        self.ended = ~writes | (position + 1 >= self.limits[self.open_rows])
        self.tokens = tokens.masked_fill(~writes, self.ids.pad)
        self.output[self.open_rows, position] = self.tokens
        self.lengths[self.open_rows] += writes
        self.position += 1
        n_ended = int(self.ended.sum())
        if n_ended < max(1, LEAVING_SHARE * len(self.ended)):
            return rows
        kept = (~self.ended).nonzero().squeeze(1)
        self.open_rows, self.ended = self.open_rows[kept], self.ended[kept]
        self.tokens = self.tokens[kept]
        return kept if rows is None else rows[kept]

    def hypotheses(self) -> list[list[Hypothesis]]:
        """R a sentence, best score first."""
        found = [
            Hypothesis(row[:length], score)
            for row, length, score in zip(
                self.output.tolist(), self.lengths.tolist(), self.scores.tolist(), strict=True
            )
        ]
        return [
            sorted(found[first : first + self.rows_per_sentence], key=lambda one: -one.score)
            for first in range(0, len(found), self.rows_per_sentence)
        ]
