"""Corpus scores of sacrebleu, from the sufficient statistics of its own scorers."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from heed.metrics.score import Score, check_texts


class SacrebleuScore(Score):
    """A score that sacrebleu computes from counts summed over sentences.

    sacrebleu finds a sentence's counts and turns their sum into the score; only the adding up is
    done here, so the figure is sacrebleu's to the last bit.

    Args:
        name: Key of the score.
        scorer: A sacrebleu metric.
        statistics: How many counts it keeps of a sentence.
    """

    higher_is_better = True
    counts: Tensor
    sentences: Tensor
    references: Tensor
    references_squared: Tensor

    def __init__(self, name: str, scorer: Any, statistics: int) -> None:
        super().__init__()
        self.name = name
        self.scorer = scorer
        self.add_sum("counts", statistics)
        # These tell whether all sentences have equally many references, which the signature says.
        self.add_sum("sentences")
        self.add_sum("references")
        self.add_sum("references_squared")
        self._computed_signature = ""

    def sentence_statistics(
        self, predictions: list[str], references: list[list[str]]
    ) -> list[list[int]]:
        """sacrebleu's counts of each sentence; summed, they give the corpus score."""
        check_texts(predictions, references)
        assert all(references), "each prediction needs at least one reference"
        if not predictions:
            return []
        columns = [list(column) for column in zip_longest(*references)]  # None: no such reference
        return self.scorer._extract_corpus_statistics(predictions, columns)

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add sentences.

        Args:
            predictions: Detokenised outputs.
            references: One or more detokenised references of each; their number may vary.
        """
        statistics = self.sentence_statistics(predictions, references)
        if statistics:
            self.counts += torch.tensor(statistics, device=self.device).sum(dim=0)
        self.sentences += len(predictions)
        self.references += sum(len(texts) for texts in references)
        self.references_squared += sum(len(texts) ** 2 for texts in references)

    def compute(self) -> dict[str, Tensor]:
        """The corpus score, 0 to 100."""
        self._computed_signature = self._describe()
        score = self.scorer._compute_score_from_stats(self.counts.tolist()).score
        return self.figures({self.name: score})

    @property
    def signature(self) -> str:
        """sacrebleu's signature: of what was last computed, or else of this process's sentences."""
        return self._describe() if self._computed is None else self._computed_signature

    def _describe(self) -> str:
        sentences, references = int(self.sentences), int(self.references)
        # The mean of squares is the square of the mean only where all are equal.
        if sentences * int(self.references_squared) == references**2:
            self.scorer.num_refs = references // max(sentences, 1)
        else:
            self.scorer.num_refs = -1  # sacrebleu's mark for "varies"
        return str(self.scorer.get_signature())
