"""What a model offers to a decoder, and what a decoder gives back.

Legend: N rows (sentences times beams or samples), V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Step(Protocol):
    """One step of a model that writes token after token; it keeps its own key-value cache.

    A step begins with one row a sentence and nothing written; its first call comes before its
    first `reorder`.
    """

    def __call__(self, tokens: Tensor) -> Tensor:
        """Append one token to every row and predict the next.

        Args:
            tokens: (N,) the newest token of each row; the first call gets the beginning-of-sentence
                token.

        Returns:
            (N, V) logits of the next token, a tensor of the decoder's own: it may write into it.
        """
        ...

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on from what row `rows[i]` has written; rows may repeat or be left out.

        Args:
            rows: (N',) indices into the present rows.
        """
        ...


class JoiningStep(Step, Protocol):
    """A step that takes in rows of others, so that batches can be written together."""

    def join(self, other: Any) -> None:
        """Take in the rows of another step of the same model, behind one's own.

        Both have been called; their rows may have written different numbers of tokens.

        Args:
            other: The step; not used afterwards.
        """
        ...


class Hypothesis(NamedTuple):
    """One finished output.

    Attributes:
        tokens: Token ids without the beginning and the end of sentence.
        score: Natural log of the model's probability of the tokens and the end of sentence, over
            the whole softmax (nothing is renormalised after blocking, truncation or temperature);
            divided by the length penalty where the decoder has one. -inf when the limits left
            nothing that could be written.
    """

    tokens: list[int]
    score: float
