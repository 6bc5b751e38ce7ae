"""chrF (Popovic 2015), as sacrebleu computes it."""

from __future__ import annotations

from sacrebleu.metrics.chrf import CHRF

from heed.metrics.corpus import SacrebleuScore


class Chrf(SacrebleuScore):
    """Corpus character F-score, 0 to 100, under the name "chrf".

    Args:
        lowercase: Ignore case.
        word_order: Longest word n-gram counted beside the characters; 0 is chrF, 2 is chrF++.
    """

    def __init__(self, *, lowercase: bool = False, word_order: int = 0) -> None:
        scorer = CHRF(lowercase=lowercase, word_order=word_order)
        super().__init__("chrf", scorer, statistics=3 * scorer.order)
