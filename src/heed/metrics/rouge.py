"""ROUGE (Lin 2004), as rouge-score computes it, with its stemmer on."""

from __future__ import annotations

import functools
import re

import torch
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize
from rouge_score.tokenizers import Tokenizer
from torch import Tensor

from heed.metrics.score import Score, check_texts, percent, to_units

ROUGE_TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def split_sentences(text: str) -> str:
    """A sentence a line: a new one begins after ".", "!" or "?" and white space, and at a line end.

    rougeLsum compares sentence by sentence and takes lines for sentences; the other types do not
    see lines.
    """
    return SENTENCE_END.sub("\n", text.strip())


class Rouge(Score):
    """Mean F-scores of ROUGE-1, -2, -L and -Lsum over examples, 0 to 100.

    With several references an example counts with the best of them, for each type on its own
    (`RougeScorer.score_multi`). As soon as any example has several, "rouge1_first" and so on are
    the same means against each example's first reference alone.

    Args:
        use_stemmer: Compare stems (Porter 1980), as the field reports for English.
        split: Break texts into sentences by `split_sentences` for rougeLsum. False leaves them as
            they are, when they come with a sentence a line.
    """

    higher_is_better = True
    best: Tensor
    first: Tensor
    examples: Tensor
    several: Tensor

    def __init__(self, *, use_stemmer: bool = True, split: bool = True) -> None:
        super().__init__()
        self.use_stemmer = use_stemmer
        self.split = split
        self.scorer = RougeScorer(ROUGE_TYPES, tokenizer=StemTokenizer(stem=use_stemmer))
        self.add_sum("best", len(ROUGE_TYPES))
        self.add_sum("first", len(ROUGE_TYPES))
        self.add_sum("examples")
        self.add_sum("several")

    def example_scores(self, prediction: str, references: list[str]) -> list[dict[str, float]]:
        """The F-scores of one prediction against each reference, 0 to 1."""
        if self.split:
            prediction = split_sentences(prediction)
            references = [split_sentences(reference) for reference in references]
        scores = [self.scorer.score(reference, prediction) for reference in references]
        return [{name: float(one[name].fmeasure) for name in ROUGE_TYPES} for one in scores]

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add examples: a prediction each, with one or more references."""
        check_texts(predictions, references)
        best, first = [0] * len(ROUGE_TYPES), [0] * len(ROUGE_TYPES)
        for prediction, texts in zip(predictions, references, strict=True):
            assert texts, "each prediction needs at least one reference"
            scores = self.example_scores(prediction, texts)
            for place, name in enumerate(ROUGE_TYPES):
                best[place] += to_units(max(one[name] for one in scores))
                first[place] += to_units(scores[0][name])
        self.best += torch.tensor(best, device=self.device)
        self.first += torch.tensor(first, device=self.device)
        self.examples += len(predictions)
        self.several += sum(len(texts) > 1 for texts in references)

    def compute(self) -> dict[str, Tensor]:
        """The means, by name."""
        examples = int(self.examples)
        sums = dict(zip(ROUGE_TYPES, self.best.tolist(), strict=True))
        if self.several:
            first = zip(ROUGE_TYPES, self.first.tolist(), strict=True)
            sums |= {f"{name}_first": total for name, total in first}
        return self.figures({name: percent(total, examples) for name, total in sums.items()})


class StemTokenizer(Tokenizer):
    """rouge-score's default tokenizer, remembering stems: stemming is most of its time."""

    def __init__(self, *, stem: bool) -> None:
        self.stemmer = CachedStemmer() if stem else None

    def tokenize(self, text: str) -> list[str]:
        """Lower-cased words and numbers, stemmed when longer than three characters."""
        return tokenize(text, self.stemmer)


class CachedStemmer:
    """Porter's stemmer with a memory."""

    def __init__(self) -> None:
        self.porter = PorterStemmer()

    def stem(self, word: str) -> str:
        """The stem of a word."""
        return _stem(self.porter, word)


@functools.lru_cache(maxsize=100_000)
def _stem(stemmer: PorterStemmer, word: str) -> str:
    return stemmer.stem(word)
