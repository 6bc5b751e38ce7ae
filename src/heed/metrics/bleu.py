"""BLEU (Papineni et al. 2002), as sacrebleu computes it (Post 2018)."""

from __future__ import annotations

from sacrebleu.metrics.bleu import BLEU

from heed.errors import UserError, nearest
from heed.metrics.corpus import SacrebleuScore


class Bleu(SacrebleuScore):
    """Corpus BLEU of detokenised text, 0 to 100, under the name "bleu".

    Args:
        lowercase: Ignore case; the field reports the cased score.
        tokenize: sacrebleu's tokenizer; "13a" is that of the WMT evaluations.

    Raises:
        UserError: sacrebleu has no such tokenizer.
    """

    def __init__(self, *, lowercase: bool = False, tokenize: str = "13a") -> None:
        if tokenize not in BLEU.TOKENIZERS:
            raise UserError(
                f"the tokenizer of BLEU must be one of sacrebleu's, but is {tokenize!r}",
                nearest(tokenize, BLEU.TOKENIZERS),
            )
        scorer = BLEU(lowercase=lowercase, tokenize=tokenize, force=True)
        super().__init__("bleu", scorer, statistics=2 + 2 * scorer.max_ngram_order)
