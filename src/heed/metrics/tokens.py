"""Scores of a language model, from what it made of each text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from heed.metrics.score import Score

NATS = 2**24  # units of a nat; int64 holds 5e11 nats


class TokenScore(Score):
    """ "token_accuracy" from 0 to 100, and where asked for "bits_per_byte".

    - token_accuracy: share of the tokens asked for whose likeliest candidate is right.
    - bits_per_byte: what a text costs to tell, over its length in UTF-8: unlike a perplexity, it
      does not depend on the tokenizer.

    Args:
        of_bytes: Whether all of a text is told, so that bits can be counted for its bytes.
    """

    tokens: Tensor
    right: Tensor
    nats: Tensor
    bytes: Tensor

    def __init__(self, *, of_bytes: bool) -> None:
        super().__init__()
        self.of_bytes = of_bytes
        for name in ("tokens", "right", "nats", "bytes"):
            self.add_sum(name)

    def update(
        self,
        tokens: Sequence[int],
        right: Sequence[int],
        log_probabilities: Sequence[float],
        texts: Sequence[str],
    ) -> None:
        """Add texts.

        Args:
            tokens: How many tokens of each were asked for.
            right: How many of them were told.
            log_probabilities: The natural log of their probability, summed over them.
            texts: The texts.
        """
        self.tokens += sum(tokens)
        self.right += sum(right)
        self.nats += sum(round(-value * NATS) for value in log_probabilities)
        self.bytes += sum(len(text.encode()) for text in texts)

    def compute(self) -> dict[str, Tensor]:
        """The scores, by name."""
        values = {"token_accuracy": 100.0 * int(self.right) / max(1, int(self.tokens))}
        if self.of_bytes:
            bits = int(self.nats) / NATS / math.log(2)
            values["bits_per_byte"] = bits / max(1, int(self.bytes))
        return self.figures(values)
