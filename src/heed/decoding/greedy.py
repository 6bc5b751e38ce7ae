"""Greedy search: always the likeliest next token."""

from __future__ import annotations

from torch import Tensor

from heed.decoding.decoder import Decoder, Engine, Ids, limit_faults
from heed.decoding.likeliest import likeliest_one
from heed.decoding.rows import RowSearch
from heed.errors import raise_together


class GreedyDecoder(Decoder):
    """Writes the likeliest next token until the end of sentence or the limit.

    Args:
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
        max_length: int = 256,
        max_length_ratio: float | None = None,
        max_length_extra: int = 0,
        min_length: int = 0,
        no_repeat_ngram_size: int = 0,
        engine: Engine = "heed",
        compute_type: str | None = None,
    ) -> None:
        raise_together(
            limit_faults(
                max_length=max_length,
                max_length_ratio=max_length_ratio,
                max_length_extra=max_length_extra,
                min_length=min_length,
                no_repeat_ngram_size=no_repeat_ngram_size,
            )
        )
        super().__init__(
            max_length=max_length,
            max_length_ratio=max_length_ratio,
            max_length_extra=max_length_extra,
            min_length=min_length,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        self.engine = engine
        self.compute_type = compute_type

    def begin(self, limits: Tensor, ids: Ids, *, with_scores: bool = True) -> RowSearch:
        """See `Decoder.begin`; one hypothesis a sentence, scored by its log probability."""
        return RowSearch(
            self, likeliest_one, limits, ids, rows_per_sentence=1, with_scores=with_scores
        )
