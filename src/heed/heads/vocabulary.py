"""Which token comes next.

Legend: D model width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn


class VocabularyHead(nn.Module):
    """A score for every token: (..., D) -> (..., V).

    Args:
        d_model: D.
        vocabulary_size: V.
        tied: (V, D) the embedding table to share (Press and Wolf 2017); None: a table of its own.
        bias: Whether each token has a score of its own, whatever the input.
    """

    def __init__(
        self,
        *,
        d_model: int,
        vocabulary_size: int,
        tied: nn.Parameter | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.output = nn.Linear(d_model, vocabulary_size, bias=bias)
        if tied is None:
            nn.init.xavier_uniform_(self.output.weight)
        else:
            assert tied.shape == (vocabulary_size, d_model), "the tied table has another shape"
            self.output.weight = tied
        if bias:
            nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> logits (..., V)."""
        return self.output(hidden)
