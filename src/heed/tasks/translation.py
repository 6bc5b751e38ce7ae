"""Translation: text in one language from text in another, scored by BLEU and chrF."""

from __future__ import annotations

from typing import Any

from torch import nn

from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf
from heed.metrics.together import Together
from heed.tasks.generation import GenerationTask


class Translation(GenerationTask):
    """Translates; BLEU is cased, on 13a tokens, as sacreBLEU gives it (Post, 2018).

    Args:
        lowercase: Whether scores ignore case.
        bleu_tokenize: sacreBLEU's tokenizer, by the target language ("13a", "zh", "ja-mecab").
        generation_settings: See `GenerationTask`.
    """

    def __init__(
        self, *, lowercase: bool = False, bleu_tokenize: str = "13a", **generation_settings: Any
    ) -> None:
        self.lowercase = lowercase
        self.bleu_tokenize = bleu_tokenize
        super().__init__(**generation_settings)

    def new_scores(self) -> nn.Module:
        bleu = Bleu(lowercase=self.lowercase, tokenize=self.bleu_tokenize)
        return Together([bleu, Chrf(lowercase=self.lowercase)])
