"""Where an answer starts and ends.

Legend: B batch, T positions, D model width.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from heed.backbone.packed import Layout, Packed, unpack


class SpanLogits(NamedTuple):
    """The scores of each position as start and as end, (B, T) each, fp32."""

    start: Tensor
    end: Tensor


class SpanHead(nn.Module):
    """Scores every position as start and as end of a span (Devlin et al. 2019, section 4.2).

    Args:
        d_model: D.
    """

    def __init__(self, *, d_model: int) -> None:
        super().__init__()
        self.output = nn.Linear(d_model, 2)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Tensor, allowed: Tensor, layout: Layout | None = None) -> SpanLogits:
        """Score.

        Args:
            hidden: (B, T, D), or of packed rows (1, N, D).
            allowed: (B, T) bool, True where an answer may start or end: the passage and, for
                "no answer", the first position.
            layout: Of the hidden states; only looked at to unpack them.

        Returns:
            Start and end logits, -inf where not allowed.
        """
        logits = self.output(hidden).float()
        if isinstance(layout, Packed):
            logits = unpack(logits, layout, allowed.shape[1])  # (1, N, 2) -> (B, T, 2)
        logits = logits.masked_fill(~allowed[..., None], float("-inf"))
        start, end = logits.unbind(-1)  # (B, T, 2) -> 2 x (B, T)
        return SpanLogits(start, end)
