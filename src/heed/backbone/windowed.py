"""Attention to what is near (Beltagy et al. 2020, section 3.1; Child et al. 2019).

Legend: B batch, H heads, G groups of heads, T positions, K head width, W window, C chunk length,
N chunks, S keys that the queries of a chunk may see.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.backbone.kernels import Kernel
from heed.backbone.position_bias import distances

SHORTEST_CHUNK = 64
"""Narrow windows are computed in chunks of this length, since small matrix products are slow."""


class WindowedAttention:
    """Each query sees the keys at most W positions away; a `Kernel`.

    The queries are cut into N chunks of C >= W, and each chunk looks at the keys of its own and
    its neighbours, as if it were a row of a larger batch. So time and memory grow with T, not with
    its square: T (C + 2 W) scores, or T (C + W) if causal.

    Args:
        window: W, to each side; to the left only if causal.
        kernel: Computes the attention within a chunk.
    """

    def __init__(self, *, window: int, kernel: Kernel) -> None:
        self.window = window
        self.kernel = kernel

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """See `heed.backbone.kernels.Kernel`; there must be no bias.

        A mask that differs from query to query, as with a key-value cache, must hold the window
        already; then all scores are computed.
        """
        assert bias is None, "a window cannot be cut from a bias"
        length = query.shape[2]
        given = length != key.shape[2] or (mask is not None and mask.shape[-2] > 1)
        if given or length <= self.window + 1:
            return self.kernel(query, key, value, mask=mask, causal=causal, dropout_p=dropout_p)
        chunk = max(self.window, SHORTEST_CHUNK)
        if length <= chunk:
            band = self._band(length, length, 0, causal=causal, device=query.device)
            allowed = band if mask is None else band & mask
            return self.kernel(query, key, value, mask=allowed, dropout_p=dropout_p)
        before, after = self.window, 0 if causal else self.window
        n_chunks = -(-length // chunk)
        padding = n_chunks * chunk - length
        span = before + chunk + after  # S
        # (B, H, T, K) -> (B, H, N C, K) -> (B N, H, C, K)
        queries = F.pad(query, (0, 0, 0, padding)).unflatten(2, (n_chunks, chunk))
        queries = queries.transpose(1, 2).flatten(0, 1)
        # (B, G, T, K) -> (B, G, W + N C + W, K) -> (B, G, N, K, S) -> (B N, G, S, K)
        keys, values = (
            F.pad(x, (0, 0, before, padding + after)).unfold(2, span, chunk).permute(0, 2, 1, 4, 3)
            for x in (key, value)
        )
        real = query.new_ones((query.shape[0], length), dtype=torch.bool)
        if mask is not None:
            real = real & mask[:, 0, 0]
        # (B, T) -> (B, W + N C + W) -> (B, N, S) -> (B N, 1, 1, S)
        real = F.pad(real, (before, padding + after)).unfold(1, span, chunk)
        band = self._band(chunk, span, before, causal=causal, device=query.device)  # (C, S)
        found = self.kernel(
            queries,
            keys.flatten(0, 1),
            values.flatten(0, 1),
            mask=real.flatten(0, 1)[:, None, None] & band,
            dropout_p=dropout_p,
        )  # (B N, H, C, K)
        # (B N, H, C, K) -> (B, H, N C, K) -> (B, H, T, K)
        joined = found.unflatten(0, (-1, n_chunks)).transpose(1, 2).flatten(2, 3)
        return joined[:, :, :length]

    def _band(
        self, queries: int, keys: int, before: int, *, causal: bool, device: torch.device
    ) -> Tensor:
        """(queries, keys) bool: whether query i may see key j, the first `before` keys being those
        ahead of query 0."""
        i = torch.arange(queries, device=device)
        j = torch.arange(keys, device=device) - before
        band = near(i, j, self.window)[0, 0]
        return band & (j <= i[:, None]) if causal else band


def near(query_positions: Tensor, key_positions: Tensor, window: int) -> Tensor:
    """Which keys lie within a window.

    (Tq,) or (B, Tq), (Tk,) or (B, Tk) -> bool (1 or B, 1, Tq, Tk).
    """
    return (distances(query_positions, key_positions).abs() <= window)[:, None]
