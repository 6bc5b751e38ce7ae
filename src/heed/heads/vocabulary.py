"""Which token comes next.

Legend: D model width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from heed.backbone.soft_cap import soft_cap


class VocabularyHead(nn.Module):
    """A score for every token: (..., D) -> (..., V).

    Args:
        d_model: D.
        vocabulary_size: V.
        tied: (V, D) the embedding table to share (Press and Wolf 2017); None: a table of its own.
        bias: Whether each token has a score of its own, whatever the input.
        soft_cap: Bound of the scores (Gemma 2: Riviere et al. 2024); None for none.
    """

    def __init__(
        self,
        *,
        d_model: int,
        vocabulary_size: int,
        tied: nn.Parameter | None = None,
        bias: bool = False,
        soft_cap: float | None = None,
    ) -> None:
        super().__init__()
        self.soft_cap = soft_cap
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
        logits = self.output(hidden)
        return logits if self.soft_cap is None else soft_cap(logits, self.soft_cap)
