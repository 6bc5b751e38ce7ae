"""One batch of a beam search, token by token.

Legend: B sentences (b of them still open), K beams, N = b * K rows, C candidates, V vocabulary,
T tokens written so far.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from heed.decoding.decoder import Ids, never_written
from heed.decoding.likeliest import likeliest
from heed.decoding.step import Hypothesis

if TYPE_CHECKING:
    from heed.decoding.beam import BeamDecoder


class BeamSearch:
    """The beams of each sentence that is still open; see `heed.decoding.search.Search`.

    Args:
        decoder: Gives the sizes and rules.
        limits: (B,) the most tokens of each sentence.
        ids: The tokens that are not words.
    """

    def __init__(self, decoder: BeamDecoder, limits: Tensor, ids: Ids) -> None:
        self.decoder = decoder
        self.ids = ids
        self.never = never_written(ids)
        self.limits = limits
        device, count = limits.device, len(limits)
        longest = int(limits.max()) if count else 0
        self.finished = Finished(count, decoder.beam_size, longest, device)
        self.length = 0
        self.sentences = torch.arange(count, device=device)  # (b,) which are still open
        # One row a sentence until the first token is chosen, K after it.
        self.scores = torch.zeros(count, 1, device=device)  # (b, K) log probabilities
        self.written = torch.empty(count, 1, 0, dtype=torch.long, device=device)  # (b, K, T)
        self.tokens = torch.full((count,), ids.bos, device=device)  # (N,)

    def advance(self, logits: Tensor) -> Tensor | None:
        """See `Search.advance`."""
        decoder, written, sentences = self.decoder, self.written, self.sentences
        self.length = length = self.length + 1
        normaliser = logits.logsumexp(dim=-1, keepdim=True)  # (N, 1)
        decoder.forbid(logits, written.flatten(0, 1), never=self.never, eos_id=self.ids.eos)
        gains, parents, tokens = self._candidates(logits, normaliser)

        at_limit = self.limits[sentences] <= length  # (b,)
        ends = (tokens == self.ids.eos) | at_limit[:, None]  # (b, C)
        may_end = ends & gains.isfinite()
        may_end[:, decoder.beam_size :] = False
        if bool(may_end.any()):
            penalised = gains / length**decoder.length_penalty
            self.finished.add(
                sentences,
                scores=penalised.masked_fill(~may_end, -torch.inf),
                written=_select(written, parents),
                tokens=tokens,
                eos_id=self.ids.eos,
            )

        scores, chosen = gains.masked_fill(ends, -torch.inf).topk(decoder.beam_size, dim=-1)
        parents, tokens = parents.gather(1, chosen), tokens.gather(1, chosen)  # (b, K)
        kept = (~self._done(scores)).nonzero().squeeze(1)
        first_rows = kept * written.shape[1]  # the first row of each sentence that goes on
        rows = (first_rows[:, None] + parents[kept]).flatten()
        self.written = torch.cat(
            [_select(written[kept], parents[kept]), tokens[kept, :, None]], dim=-1
        )
        self.scores, self.tokens = scores[kept], tokens[kept].flatten()
        self.sentences = sentences[kept]
        return rows

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Up to `n_best` a sentence."""
        return self.finished.hypotheses(self.decoder.n_best)

    def _candidates(self, logits: Tensor, normaliser: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K likeliest continuations of each sentence: (b, 2K) scores, parent beams, tokens."""
        count = 2 * self.decoder.beam_size
        open_sentences, beams = self.scores.shape
        # 2K of each row are enough: the best 2K of a sentence cannot hold more of any one beam.
        best, tokens = likeliest(logits, min(count, logits.shape[-1]))  # (N, c)
        per_beam = best.shape[-1]
        gains = (best - normaliser + self.scores.flatten()[:, None]).view(open_sentences, -1)
        tokens = tokens.view(open_sentences, -1)  # (b, K * c)
        missing = count - gains.shape[-1]
        if missing > 0:  # a vocabulary smaller than the beam
            gains = functional.pad(gains, (0, missing), value=-torch.inf)
            tokens = functional.pad(tokens, (0, missing), value=self.ids.pad)
        gains, chosen = gains.topk(count, dim=-1)  # (b, 2K)
        parents = (chosen // per_beam).clamp(max=beams - 1)
        return gains, parents, tokens.gather(1, chosen)

    def _done(self, scores: Tensor) -> Tensor:
        """(b,) whether nothing that is still open can change what a sentence gives back."""
        decoder, length, limits = self.decoder, self.length, self.limits[self.sentences]
        # A log probability only falls, so a beam's best end is: nothing lost from here on, at the
        # length that divides most (the limit), or multiplies least (the next one).
        if decoder.length_penalty >= 0:
            divisor = limits.float() ** decoder.length_penalty
        else:
            divisor = torch.full_like(scores[:, 0], float(length + 1) ** decoder.length_penalty)
        attainable = scores[:, 0] / divisor
        kept = self.finished.scores[self.sentences]  # (b, K), best first
        done = (limits <= length) | (attainable <= kept[:, decoder.n_best - 1])
        if decoder.early_stopping:
            done |= kept[:, -1].isfinite()
        return done


class Finished:
    """The K best hypotheses of each sentence that have ended so far, best first.

    Args:
        batch_size: B.
        size: K, how many are kept for a sentence.
        longest: The most tokens a hypothesis has.
        device: Where they are kept.
    """

    def __init__(
        self, batch_size: int, size: int, longest: int, device: torch.device | str
    ) -> None:
        self.size = size
        self.scores = torch.full((batch_size, size), -torch.inf, device=device)
        self.lengths = torch.zeros(batch_size, size, dtype=torch.long, device=device)
        self.tokens = torch.zeros(batch_size, size, longest, dtype=torch.long, device=device)

    def add(
        self, sentences: Tensor, *, scores: Tensor, written: Tensor, tokens: Tensor, eos_id: int
    ) -> None:
        """Take in hypotheses that end with this step's token, and keep the best.

        Args:
            sentences: (b,) the sentences they belong to.
            scores: (b, C) with the length penalty; -inf for candidates that do not end.
            written: (b, C, T) tokens before this step's.
            tokens: (b, C) this step's, the end of sentence or, at the limit, any.
            eos_id: Not counted as part of the output.
        """
        length = written.shape[-1]
        all_scores = torch.cat([self.scores[sentences], scores], dim=1)  # (b, K + C)
        lengths = length + (tokens != eos_id).long()
        all_lengths = torch.cat([self.lengths[sentences], lengths], dim=1)
        outputs = torch.cat([written, tokens[:, :, None]], dim=-1)  # (b, C, T + 1)
        # What ended earlier is shorter, so only the first T + 1 places can hold anything.
        all_tokens = torch.cat([self.tokens[sentences, :, : length + 1], outputs], dim=1)
        best, chosen = all_scores.topk(self.size, dim=1)
        self.scores[sentences] = best
        self.lengths[sentences] = all_lengths.gather(1, chosen)
        self.tokens[sentences, :, : length + 1] = _select(all_tokens, chosen)

    def hypotheses(self, n_best: int) -> list[list[Hypothesis]]:
        """The best of each sentence; one empty hypothesis where none could end."""
        results = []
        for scores, lengths, tokens in zip(
            self.scores[:, :n_best].tolist(),
            self.lengths[:, :n_best].tolist(),
            self.tokens[:, :n_best].tolist(),
            strict=True,
        ):
            found = [
                Hypothesis(output[:length], score)
                for score, length, output in zip(scores, lengths, tokens, strict=True)
                if score > -math.inf
            ]
            results.append(found or [Hypothesis([], -math.inf)])
        return results


def _select(values: Tensor, chosen: Tensor) -> Tensor:
    """(b, K, T) values, (b, C) indices among the K -> (b, C, T)."""
    return values.gather(1, chosen[:, :, None].expand(-1, -1, values.shape[-1]))
