"""Which token comes next.

Legend: D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.backbone.soft_cap import soft_cap
from heed.backbone.transformer import Transformer
from heed.heads.loss import Loss, label_smoothed_cross_entropy
from heed.heads.projected_loss import can_project, projected_cross_entropy

LARGE = 2**29
"""Bytes of logits in fp32 from which they are not made as a whole, for the sake of memory. Smaller
ones are: a training with 131 MB of them takes 6 % less time so (docs/notes/speed.md)."""


class VocabularyHead(nn.Module):
    """A score for every token: (..., D) -> (..., V).

    Args:
        d_model: D.
        vocabulary_size: V.
        tied: (V, D) the embedding table to share (Press and Wolf 2017); None: a table of its own.
        bias: Whether each token has a score of its own, whatever the input.
        scale: Factor of the scores, before their bias.
        soft_cap: Bound of the scores (Gemma 2: Riviere et al. 2024); None for none.
    """

    def __init__(
        self,
        *,
        d_model: int,
        vocabulary_size: int,
        tied: nn.Parameter | None = None,
        bias: bool = False,
        scale: float = 1.0,
        soft_cap: float | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.soft_cap = soft_cap
        self.output = nn.Linear(d_model, vocabulary_size, bias=bias)
        if tied is None:
            nn.init.xavier_uniform_(self.output.weight)
        else:
            assert tied.shape == (vocabulary_size, d_model), "the tied table has another shape"
            self.output.weight = tied
        if bias:
            nn.init.zeros_(self.output.bias)

    @classmethod
    def of(cls, backbone: Transformer) -> VocabularyHead:
        """The head that a backbone's values describe, over the vocabulary that it writes."""
        return cls(
            d_model=backbone.d_model,
            vocabulary_size=backbone.target_vocabulary_size,
            tied=backbone.output_embedding,
            bias=backbone.logit_bias,
            scale=backbone.logit_scale,
            soft_cap=backbone.logit_soft_cap,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> logits (..., V)."""
        logits = self.output(hidden if self.scale == 1.0 else hidden * self.scale)
        return logits if self.soft_cap is None else soft_cap(logits, self.soft_cap)

    def loss(self, hidden: Tensor, labels: Tensor, *, mask: Tensor, smoothing: float = 0.0) -> Loss:
        """The cross-entropy of labels, without the logits of all tokens where these are large.

        Args:
            hidden: (..., D).
            labels: (...) long; any value where the mask is False.
            mask: (...) bool, True where a label counts.
            smoothing: In [0, 1).
        """
        if not self._in_one(hidden):
            return label_smoothed_cross_entropy(
                self(hidden), labels, mask=mask, smoothing=smoothing
            )
        return projected_cross_entropy(
            hidden[mask],
            self.output.weight,
            labels[mask],
            bias=self.output.bias,
            scale=self.scale,
            smoothing=smoothing,
        )

    def _in_one(self, hidden: Tensor) -> bool:
        """Whether logits are never made as a whole: in training on a CPU, if they would be large,
        the projection is what it was built as (no adapter, no part of it elsewhere) and nobody
        watches."""
        tokens = hidden.numel() // hidden.shape[-1]
        if 4 * tokens * self.output.out_features < LARGE:
            return False
        plain = type(self.output) is nn.Linear and type(self.output.weight) is nn.Parameter
        plain = plain and not (self._forward_hooks or self.output._forward_hooks)
        wanted = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        on_cpu = hidden.device.type == "cpu"
        return plain and wanted and on_cpu and can_project(hidden, self.soft_cap)
