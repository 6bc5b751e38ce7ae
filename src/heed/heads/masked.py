"""What a hidden token was.

Legend: D model width, V vocabulary, K hidden tokens of a row at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.backbone.transformer import Transformer
from heed.heads.vocabulary import VocabularyHead


class MaskedTokenHead(nn.Module):
    """A score for every token at each hidden place (Devlin et al. 2019, as in their code).

    A layer, GELU and a norm, then the embedding table and a bias: a decoder needs no such layer,
    since its hidden states are made for nothing else.

    Args:
        d_model: D.
        vocabulary_size: V.
        tied: (V, D) the embedding table to share; None: a table of its own.
        norm_epsilon: Added to the variance by the norm.
        bias: Whether the layer and the norm have one; the table always does.
        scale, soft_cap: As for a vocabulary's head.
    """

    def __init__(
        self,
        *,
        d_model: int,
        vocabulary_size: int,
        tied: nn.Parameter | None = None,
        norm_epsilon: float = 1e-5,
        bias: bool = True,
        scale: float = 1.0,
        soft_cap: float | None = None,
    ) -> None:
        super().__init__()
        self.transform = nn.Linear(d_model, d_model, bias=bias)
        nn.init.xavier_uniform_(self.transform.weight)
        if bias:
            nn.init.zeros_(self.transform.bias)
        self.norm = nn.LayerNorm(d_model, eps=norm_epsilon, bias=bias)
        if tied is not None:  # logits of moderate size, so that the first loss is near ln V
            nn.init.constant_(self.norm.weight, d_model**-0.25)
        self.vocabulary = VocabularyHead(
            d_model=d_model,
            vocabulary_size=vocabulary_size,
            tied=tied,
            bias=True,
            scale=scale,
            soft_cap=soft_cap,
        )

    @classmethod
    def of(cls, backbone: Transformer) -> MaskedTokenHead:
        """The head that a backbone's values describe."""
        return cls(
            d_model=backbone.d_model,
            vocabulary_size=backbone.vocabulary_size,
            tied=backbone.output_embedding,
            norm_epsilon=backbone.norm_epsilon,
            bias=backbone.bias,
            scale=backbone.logit_scale,
            soft_cap=backbone.logit_soft_cap,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> logits (..., V)."""
        return self.vocabulary(self.norm(nn.functional.gelu(self.transform(hidden))))


def at_places(hidden: Tensor, places: Tensor) -> Tensor:
    """(B, T, D) at the columns (B, K) -> (B, K, D)."""
    return torch.gather(hidden, 1, places[:, :, None].expand(-1, -1, hidden.shape[-1]))
