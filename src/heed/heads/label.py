"""Which label a text has.

Legend: B batch, T positions, D model width, C labels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from heed.backbone.dropout import Dropout
from heed.backbone.packed import Layout, Packed

Pooling = Literal[
    "first", "pooled", "pooled_relu", "pooled_gelu", "mean", "mean_gelu", "last", "last_unbiased"
]


class Way(NamedTuple):
    """How a text becomes scores: the vector at a place, a layer, and a score for each label."""

    place: Literal["first", "mean", "last"]
    layer: Literal["none", "tanh", "relu", "gelu"] = "none"
    bias: bool = True


WAYS: dict[str, Way] = {
    "first": Way("first"),
    "pooled": Way("first", "tanh"),
    "pooled_relu": Way("first", "relu"),
    "pooled_gelu": Way("first", "gelu"),
    "mean": Way("mean"),
    "mean_gelu": Way("mean", "gelu"),
    "last": Way("last"),
    "last_unbiased": Way("last", bias=False),
}


def pooling_for(pooling: Pooling | Literal["auto"], shape: str) -> Pooling:
    """How a backbone of this shape is pooled, if that is left to it: a decoder at its last token,
    the only one that has read everything; others over all tokens.
    """
    if pooling != "auto":
        return pooling
    return "last" if shape == "decoder" else "mean"


class LabelHead(nn.Module):
    """Pools a text to one vector and scores each label.

    Args:
        d_model: D.
        n_labels: C.
        pooling: "first" position, "mean" over the tokens, or the "last" token (for a decoder, which
            has then read everything; "last_unbiased" if labels have no scores of their own, as
            transformers labels with GPT-2 and Llama). With a layer of its own: "pooled", the first
            through tanh, as the code of Devlin et al. 2019 does; "pooled_relu" as DistilBERT (Sanh
            et al. 2019); "pooled_gelu" and "mean_gelu", with a norm and no biases, as ModernBERT
            (Warner et al. 2024).
        dropout: Probability of dropping an element of the pooled vector.
    """

    def __init__(
        self,
        *,
        d_model: int,
        n_labels: int,
        pooling: Pooling = "first",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        way = WAYS[pooling]
        self.pooling = pooling
        self.place = way.place
        self.dropout = Dropout(p=dropout)
        self.pooler = _pooler(d_model, way.layer)
        self.output = _linear(d_model, n_labels, bias=way.bias)

    def pool(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(B, T, D), or of packed rows (1, N, D), -> (B, D); padding is not looked at."""
        return self.pooler(self._gather(hidden, layout))

    def _gather(self, hidden: Tensor, layout: Layout) -> Tensor:
        if isinstance(layout, Packed):
            return self._of_packed(hidden[0], layout)
        if self.place == "first":
            return hidden[:, 0]
        if self.place == "last":
            rows = torch.arange(layout.rows, device=hidden.device)
            return hidden[rows, (layout.lengths - 1).clamp(min=0)]
        real = layout.mask()[..., None]  # (B, T, 1)
        total = hidden.float().masked_fill(~real, 0.0).sum(1)  # (B, D)
        return (total / layout.lengths.clamp(min=1)[:, None]).to(hidden.dtype)

    def _of_packed(self, hidden: Tensor, layout: Packed) -> Tensor:
        """(N, D) -> (B, D)."""
        if self.place == "first":
            return hidden[layout.offsets[: layout.rows].clamp(max=layout.width - 1)]
        if self.place == "last":
            return hidden[(layout.offsets[1 : layout.rows + 1] - 1).clamp(min=0)]
        total = hidden.new_zeros(layout.rows + 1, hidden.shape[1], dtype=torch.float32)
        total = total.index_add(0, layout.segments(), hidden.float())[: layout.rows]
        return (total / layout.lengths.clamp(min=1)[:, None]).to(hidden.dtype)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(B, T, D), or of packed rows (1, N, D), -> logits (B, C)."""
        return self.output(self.dropout(self.pool(hidden, layout)))


def _pooler(d_model: int, layer: Literal["none", "tanh", "relu", "gelu"]) -> nn.Module:
    if layer == "none":
        return nn.Identity()
    if layer == "gelu":
        norm = nn.LayerNorm(d_model, bias=False)
        return nn.Sequential(_linear(d_model, d_model, bias=False), nn.GELU(), norm)
    return nn.Sequential(_linear(d_model, d_model), nn.Tanh() if layer == "tanh" else nn.ReLU())


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(linear.weight, std=0.02)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
