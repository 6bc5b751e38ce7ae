"""Sampling from the model, with the usual ways to cut off its tail.

Legend: n rows, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heed.decoding.decoder import Decoder, Ids, at_least, limit_faults
from heed.decoding.rows import RowSearch
from heed.errors import UserError, raise_together


class SamplingDecoder(Decoder):
    """Draws each token from the model's distribution after temperature, top-k and top-p, in turn.

    The random stream begins at `seed` in every call: the same batch gives the same samples whatever
    was decoded before it.

    Args:
        temperature: Divides the logits; below 1 sharpens, above 1 flattens.
        top_k: Draw among the k likeliest tokens only (Fan et al. 2018, section 5); 0 takes all.
        top_p: Draw among the fewest likeliest tokens that together hold this probability
            (Holtzman et al. 2020, section 3.1); 1 takes all.
        n_best: Samples a sentence; they come sorted by their log probability.
        seed: Where the random stream begins.
        max_length: Most tokens written, end of sentence included.
        max_length_ratio: With `max_length_extra`, a limit that grows with the source: ratio times
            source tokens plus extra. None leaves only `max_length`.
        max_length_extra: See `max_length_ratio`.
        min_length: Fewest tokens before the end of sentence.
        no_repeat_ngram_size: No n-gram of this size is written twice in one output; 0 allows all.

    Raises:
        UserError: A value is out of its range.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        n_best: int = 1,
        seed: int = 0,
        max_length: int = 256,
        max_length_ratio: float | None = None,
        max_length_extra: int = 0,
        min_length: int = 0,
        no_repeat_ngram_size: int = 0,
    ) -> None:
        faults = limit_faults(
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            max_length_extra=max_length_extra,
            min_length=min_length,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        if temperature <= 0:
            faults.append(
                UserError(
                    f"decoding.temperature must be above 0, but is {temperature}",
                    "for the likeliest token every time, try decoding=greedy",
                )
            )
        if top_k < 0:
            faults.append(at_least("top_k", 0, top_k))
        if not 0 < top_p <= 1:
            faults.append(
                UserError(
                    f"decoding.top_p must be above 0 and at most 1, but is {top_p}",
                    "try decoding.top_p=0.9",
                )
            )
        if n_best < 1:
            faults.append(at_least("n_best", 1, n_best))
        raise_together(faults)
        super().__init__(
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            max_length_extra=max_length_extra,
            min_length=min_length,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.n_best = n_best
        self.seed = seed

    def begin(self, limits: Tensor, ids: Ids, *, with_scores: bool = True) -> RowSearch:
        """See `Decoder.begin`; `n_best` samples a sentence.

        A sentence's samples depend on its place in the batch, as all draw from one random stream;
        their distribution does not.
        """
        generator = torch.Generator(device=limits.device).manual_seed(self.seed)

        def draw(logits: Tensor) -> Tensor:
            probabilities = self.probabilities(logits)
            # Where nothing is allowed any token will do: the row ends there.
            probabilities = probabilities.nan_to_num(nan=1.0)
            return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)

        return RowSearch(
            self,
            draw,
            limits,
            ids,
            rows_per_sentence=self.n_best,
            with_scores=with_scores or self.n_best > 1,  # which are sorted by them
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """(n, V) what is drawn from, given (n, V) logits."""
        logits = logits / self.temperature
        if self.top_k:
            kept, tokens = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1)
            logits = torch.full_like(logits, -torch.inf).scatter(1, tokens, kept)
        if self.top_p < 1:
            likeliest, tokens = logits.softmax(dim=-1).sort(dim=-1, descending=True)
            # A token stays while those before it hold less than top_p: the likeliest always does.
            before = likeliest.cumsum(dim=-1) - likeliest
            tail = torch.zeros_like(logits, dtype=torch.bool).scatter(
                1, tokens, before >= self.top_p
            )
            logits = logits.masked_fill(tail, -torch.inf)
        return logits.softmax(dim=-1)
