"""Beam search with a length penalty.

Legend: B sentences, K beams.
"""

from __future__ import annotations

import math

from torch import Tensor

from heed.decoding.beam_search import BeamSearch
from heed.decoding.decoder import Decoder, Engine, Ids, at_least, limit_faults
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

    def begin(self, limits: Tensor, ids: Ids, *, with_scores: bool = True) -> BeamSearch:
        """See `Decoder.begin`; up to `n_best` hypotheses a sentence."""
        return BeamSearch(self, limits, ids)
