"""Beam search with a length penalty.

Legend: B sentences (b of them still open), K beams, N = b * K rows, C candidates, V vocabulary,
T tokens written so far.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from heed.decoding.decoder import Decoder, Engine, at_least, limit_faults, never_written
from heed.decoding.likeliest import likeliest
from heed.decoding.step import Hypothesis, Step
from heed.errors import UserError, raise_together


class BeamDecoder(Decoder):
    """Keeps the `beam_size` likeliest beginnings of each sentence, and the best that have ended.

    A hypothesis of log probability p and length L, its end of sentence included, scores
    p / L ** length_penalty, the definition of transformers' `generate`. (Wu et al. 2016,
    equation 14, divide by ((5 + L) / 6) ** alpha instead: their alpha is not this one.)

    Each step looks at the 2K likeliest continuations. Of these, the K likeliest may end; the K
    likeliest that go on are the next beams.

    Args:
        beam_size: K.
        length_penalty: 0 ranks by log probability, 1 by its mean over tokens; above favours longer
            outputs, below 0 shorter ones.
        early_stopping: False searches a sentence until no beam can beat its `n_best` finished
            hypotheses, which is exact. True stops as soon as `beam_size` have finished: faster, and
            safer where long outputs are degenerate.
        n_best: Hypotheses a sentence, at most `beam_size`; fewer where the limits allow fewer.
        max_length: Most tokens written, end of sentence included.
        max_length_ratio: With `max_length_extra`, a limit that grows with the source: ratio times
            source tokens plus extra. None leaves only `max_length`.
        max_length_extra: See `max_length_ratio`.
        min_length: Fewest tokens before the end of sentence.
        no_repeat_ngram_size: No n-gram of this size is written twice in one output; 0 allows all.
        engine: What computes: "heed", or "ctranslate2", by which `heed evaluate` and `heed predict`
            write in place of this decoder.
        compute_type: What CTranslate2 multiplies in, such as "int8"; None: fp32.

    Raises:
        UserError: A value is out of its range.
    """

    def __init__(
        self,
        *,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        early_stopping: bool = False,
        n_best: int = 1,
        max_length: int = 256,
        max_length_ratio: float | None = None,
        max_length_extra: int = 0,
        min_length: int = 0,
        no_repeat_ngram_size: int = 0,
        engine: Engine = "heed",
        compute_type: str | None = None,
    ) -> None:
        faults = limit_faults(
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            max_length_extra=max_length_extra,
            min_length=min_length,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        if beam_size < 1:
            faults.append(at_least("beam_size", 1, beam_size))
        if not math.isfinite(length_penalty):
            faults.append(
                UserError(
                    f"decoding.length_penalty must be a finite number, but is {length_penalty}",
                    "try decoding.length_penalty=1.0",
                )
            )
        if n_best < 1:
            faults.append(at_least("n_best", 1, n_best))
        elif n_best > beam_size >= 1:
            faults.append(
                UserError(
                    f"decoding.n_best must be at most decoding.beam_size ({beam_size}), but is"
                    f" {n_best}",
                    f"try decoding.beam_size={n_best}",
                )
            )
        raise_together(faults)
        super().__init__(
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            max_length_extra=max_length_extra,
            min_length=min_length,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        self.engine = engine
        self.compute_type = compute_type
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.early_stopping = early_stopping
        self.n_best = n_best

    @torch.no_grad()
    def __call__(
        self,
        step: Step,
        *,
        batch_size: int,
        bos_id: int,
        eos_id: int,
        pad_id: int,
        max_length: int | Tensor | None = None,
        device: torch.device | str = "cpu",
        with_scores: bool = True,
    ) -> list[list[Hypothesis]]:
        """See `Decoder.__call__`; up to `n_best` hypotheses a sentence."""
        if batch_size == 0:
            return []
        limits = self.row_limits(max_length, batch_size, device)
        never = never_written(bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)
        longest = int(limits.max())
        finished = Finished(batch_size, self.beam_size, longest, device)

        sentences = torch.arange(batch_size, device=device)  # (b,) which are still open
        # One row a sentence until the first token is chosen, K after it.
        scores = torch.zeros(batch_size, 1, device=device)  # (b, K) log probabilities
        written = torch.empty(batch_size, 1, 0, dtype=torch.long, device=device)  # (b, K, T)
        tokens = torch.full((batch_size,), bos_id, device=device)  # (N,)
        for length in range(1, longest + 1):
            logits = step(tokens).float()  # (N, V)
            normaliser = logits.logsumexp(dim=-1, keepdim=True)  # (N, 1)
            self.forbid(logits, written.flatten(0, 1), never=never, eos_id=eos_id)
            gains, parents, tokens = self._candidates(logits, normaliser, scores, pad_id)

            at_limit = limits[sentences] <= length  # (b,)
            ends = (tokens == eos_id) | at_limit[:, None]  # (b, C)
            may_end = ends & gains.isfinite()
            may_end[:, self.beam_size :] = False
            if bool(may_end.any()):
                finished.add(
                    sentences,
                    scores=(gains / length**self.length_penalty).masked_fill(~may_end, -torch.inf),
                    written=_select(written, parents),
                    tokens=tokens,
                    eos_id=eos_id,
                )

            scores, chosen = gains.masked_fill(ends, -torch.inf).topk(self.beam_size, dim=-1)
            parents, tokens = parents.gather(1, chosen), tokens.gather(1, chosen)  # (b, K)
            done = self._done(scores, length, limits[sentences], finished, sentences)
            kept = (~done).nonzero().squeeze(1)
            if len(kept) == 0:
                break
            first_rows = kept * written.shape[1]  # the first row of each sentence that goes on
            step.reorder((first_rows[:, None] + parents[kept]).flatten())
            written = torch.cat(
                [_select(written[kept], parents[kept]), tokens[kept, :, None]], dim=-1
            )
            scores, tokens = scores[kept], tokens[kept].flatten()
            sentences = sentences[kept]
        return finished.hypotheses(self.n_best)

    def _candidates(
        self, logits: Tensor, normaliser: Tensor, scores: Tensor, pad_id: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K likeliest continuations of each sentence: (b, 2K) scores, parent beams, tokens."""
        count = 2 * self.beam_size
        open_sentences, beams = scores.shape
        # 2K of each row are enough: the best 2K of a sentence cannot hold more of any one beam.
        best, tokens = likeliest(logits, min(count, logits.shape[-1]))  # (N, c)
        per_beam = best.shape[-1]
        gains = (best - normaliser + scores.flatten()[:, None]).view(open_sentences, -1)
        tokens = tokens.view(open_sentences, -1)  # (b, K * c)
        missing = count - gains.shape[-1]
        if missing > 0:  # a vocabulary smaller than the beam
            gains = functional.pad(gains, (0, missing), value=-torch.inf)
            tokens = functional.pad(tokens, (0, missing), value=pad_id)
        gains, chosen = gains.topk(count, dim=-1)  # (b, 2K)
        parents = (chosen // per_beam).clamp(max=beams - 1)
        return gains, parents, tokens.gather(1, chosen)

    def _done(
        self, scores: Tensor, length: int, limits: Tensor, finished: Finished, sentences: Tensor
    ) -> Tensor:
        """(b,) whether nothing that is still open can change what a sentence gives back."""
        # A log probability only falls, so a beam's best end is: nothing lost from here on, at the
        # length that divides most (the limit), or multiplies least (the next one).
        if self.length_penalty >= 0:
            divisor = limits.float() ** self.length_penalty
        else:
            divisor = torch.full_like(scores[:, 0], float(length + 1) ** self.length_penalty)
        attainable = scores[:, 0] / divisor
        kept = finished.scores[sentences]  # (b, K), best first
        done = (limits <= length) | (attainable <= kept[:, self.n_best - 1])
        if self.early_stopping:
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
