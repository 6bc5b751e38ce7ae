"""Decoding in which no row looks at another: the loop under greedy search and sampling.

Legend: B sentences, R rows a sentence, N = B * R rows (n of them still open), V vocabulary,
T tokens written so far.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from heed.decoding.decoder import Decoder, never_written
from heed.decoding.step import Hypothesis, Step

# Rows that have ended leave once they are this share of the rows computed: leaving copies the
# cache, and every new number of rows makes some kernels be built anew.
LEAVING_SHARE = 0.25


@torch.no_grad()
def decode_rows(
    decoder: Decoder,
    step: Step,
    choose: Callable[[Tensor], Tensor],
    *,
    rows_per_sentence: int,
    batch_size: int,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    max_length: int | Tensor | None,
    device: torch.device | str,
    with_scores: bool = True,
) -> list[list[Hypothesis]]:
    """Write each row token by token until its end of sentence or its limit.

    Args:
        decoder: Gives the limits and the forbidden tokens.
        step: The model, one row a sentence.
        choose: (n, V) logits, forbidden tokens at -inf -> (n,) tokens.
        rows_per_sentence: R.
        with_scores: Whether to sum up log probabilities; if not, scores are 0, or -inf.

    Returns:
        B lists of R hypotheses, best score first.
    """
    limits = decoder.row_limits(max_length, batch_size, device)
    never = never_written(bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)
    rows = batch_size * rows_per_sentence
    if rows == 0:
        return []
    longest = int(limits.max())
    sentences = torch.arange(batch_size, device=device).repeat_interleave(rows_per_sentence)  # (N,)
    limits = limits[sentences]

    output = torch.full((rows, longest), pad_id, device=device)  # (N, longest)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    scores = torch.zeros(rows, device=device)
    open_rows = torch.arange(rows, device=device)  # (n,) where each computed row is in the output
    ended = torch.zeros(rows, dtype=torch.bool, device=device)  # (n,)
    tokens = torch.full((batch_size,), bos_id, device=device)
    for position in range(longest):
        logits = step(tokens).float()  # (n, V)
        if position == 0 and rows_per_sentence > 1:  # until here the rows of a sentence are one
            step.reorder(sentences)
            logits = logits[sentences]
        normaliser = logits.logsumexp(dim=-1) if with_scores else 0.0
        written = output[open_rows, :position]  # (n, T)
        decoder.forbid(logits, written, never=never, eos_id=eos_id)
        tokens = choose(logits)
        gain = logits.gather(1, tokens[:, None]).squeeze(1) - normaliser
        # A row for which nothing is allowed ends where it is, with a score of -inf.
        writes = ~ended & (tokens != eos_id) & gain.isfinite()
        if not with_scores:
            gain = gain.masked_fill(gain.isfinite(), 0.0)
        scores[open_rows] += gain.masked_fill(ended, 0.0)
        ended = ~writes | (position + 1 >= limits[open_rows])
        tokens = tokens.masked_fill(~writes, pad_id)
        output[open_rows, position] = tokens
        lengths[open_rows] += writes
        n_ended = int(ended.sum())
        if n_ended == len(ended):
            break
        if n_ended >= LEAVING_SHARE * len(ended):
            kept = (~ended).nonzero().squeeze(1)
            step.reorder(kept)
            open_rows, tokens, ended = open_rows[kept], tokens[kept], ended[kept]

    hypotheses = [
        Hypothesis(row[:length], score)
        for row, length, score in zip(
            output.tolist(), lengths.tolist(), scores.tolist(), strict=True
        )
    ]
    return [
        sorted(hypotheses[first : first + rows_per_sentence], key=lambda one: -one.score)
        for first in range(0, rows, rows_per_sentence)
    ]
