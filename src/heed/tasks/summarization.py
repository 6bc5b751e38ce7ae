"""Summarization: a short text that says what a long one does, scored by ROUGE."""

from __future__ import annotations

from typing import Any

from torch import nn

from heed.metrics.rouge import Rouge
from heed.tasks.generation import GenerationTask


class Summarization(GenerationTask):
    """Summarizes; ROUGE-1, -2, -L and -Lsum F1 (Lin, 2004), best of several references.

    Args:
        use_stemmer: Whether words are compared by their Porter stem.
        generation_settings: See `GenerationTask`.
    """

    def __init__(self, *, use_stemmer: bool = True, **generation_settings: Any) -> None:
        self.use_stemmer = use_stemmer
        super().__init__(**generation_settings)

    def new_scores(self) -> nn.Module:
        return Rouge(use_stemmer=self.use_stemmer)
