"""Multi-head attention (Vaswani et al. 2017, section 3.2.2).

Legend: B batch, T positions, S memory length, D model width, H heads, G groups of heads, K head
width, usually D / H.
"""

from __future__ import annotations

from torch import Tensor, nn

from heed.backbone.cache import LayerCache
from heed.backbone.kernels import Kernel, auto_attention
from heed.backbone.packed import Segments
from heed.backbone.packed_attention import packed_attention, projected_attention
from heed.backbone.positions import Rotation, rotate


class MultiHeadAttention(nn.Module):
    """Each position gathers from others, by H heads that each look for something else.

    Self attention makes queries, keys and values in one product. Cross attention takes its
    queries from `x` and its keys and values from a memory, once for each cache.

    Args:
        d_model: D.
        n_heads: H.
        n_kv_heads: G, which divides H: so many heads of keys and values, each shared by H / G
            queries (Ainslie et al. 2023; G = 1: Shazeer 2019); None: H.
        head_width: K; None: D / H.
        cross: Whether keys and values come from a memory.
        kernel: How queries gather values: a function, or a module whose parameters become part of
            this layer.
        query_norm: Normalises each query over K before it is turned (Henry et al. 2020; Dehghani et
            al. 2023, section 2); None for none.
        key_norm: Likewise each key.
        dropout: Probability of dropping an attention weight.
        bias: Whether the projections have one.
        qkv_bias: Whether those to queries, keys and values do; None: as `bias`.
    """

    def __init__(
        self,
        *,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        head_width: int | None = None,
        cross: bool = False,
        kernel: Kernel = auto_attention,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        qkv_bias: bool | None = None,
    ) -> None:
        super().__init__()
        qkv_bias = bias if qkv_bias is None else qkv_bias
        n_kv_heads = n_kv_heads or n_heads
        assert n_heads % n_kv_heads == 0
        assert head_width is not None or d_model % n_heads == 0
        self.n_heads = n_heads
        self.head_width = head_width or d_model // n_heads
        self.widths = (n_heads * self.head_width, *(2 * [n_kv_heads * self.head_width]))
        """Of all queries, keys and values: H K, G K and G K."""
        self.cross = cross
        self.kernel = kernel
        self.query_norm = query_norm or nn.Identity()
        self.key_norm = key_norm or nn.Identity()
        self.dropout = dropout
        if cross:
            self.query = nn.Linear(d_model, self.widths[0], bias=qkv_bias)
            self.key_value = nn.Linear(d_model, sum(self.widths[1:]), bias=qkv_bias)
        else:
            self.qkv = nn.Linear(d_model, sum(self.widths), bias=qkv_bias)
        self.output = nn.Linear(self.widths[0], d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        mask: Tensor | Segments | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Attend from `x` to itself, or to the memory.

        Args:
            x: (B, T, D).
            memory: (B, S, D) for cross attention; not read when the cache has its keys and values.
            mask: Bool, broadcastable to (B, H, T, keys), True means "may attend"; a position with
                nothing to attend to gathers zeros. None: everything. Segments: B is 1, and rows are
                packed along T.
            bias: Float, broadcastable to (B, H, T, keys), added to the scores; None: nothing.
            causal: Position t sees 0..t only.
            rotation: Turns the queries and keys of self attention to their positions.
            cache: Earlier keys and values. Self attention adds its own; cross attention keeps the
                memory's.

        Returns:
            (B, T, D).
        """
        dropout_p = self.dropout if self.training else 0.0
        if isinstance(mask, Segments) and rotation is None and bias is None and dropout_p == 0.0:
            found = self._from_projections(x, memory, mask, causal=causal)
            if found is not None:
                return self.output(found)
        if self.cross:
            query, key, value = self._from_memory(x, memory, cache)
        else:
            # (B, T, D) -> (B, T, (H + 2 G) K) -> (B, H, T, K), 2 x (B, G, T, K)
            parts = self.qkv(x).split(self.widths, dim=-1)
            query, key, value = (self._split(part) for part in parts)
            query, key = self.query_norm(query), self.key_norm(key)
            if rotation is not None:
                query, key = rotate(query, rotation), rotate(key, rotation)
            if cache is not None:
                key, value = cache.append(key, value)
        rows = x.shape[0]
        shared = rows // max(1, key.shape[0])  # rows that follow each other and see the same keys
        if shared > 1:
            query = _together(query, shared)
        if isinstance(mask, Segments):
            heads = packed_attention(
                self.kernel,
                *(query, key, value),
                segments=mask,
                bias=bias,
                causal=causal,
                dropout_p=dropout_p,
            )
        else:
            heads = self.kernel(
                query, key, value, mask=mask, bias=bias, causal=causal, dropout_p=dropout_p
            )
        if shared > 1:
            heads = _apart(heads, shared)
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, H, T, K) -> (B, T, D)

    def _from_projections(
        self, x: Tensor, memory: Tensor | None, segments: Segments, *, causal: bool
    ) -> Tensor | None:
        """(1, T, H K) of packed rows whose queries, keys and values need not be taken apart and put
        together; None where they must be."""
        if not isinstance(self.query_norm, nn.Identity):
            return None
        attend = projected_attention(self.kernel, segments, self.head_width, x.device)
        if attend is None:
            return None
        parts = [self.qkv(x)] if memory is None else [self.query(x), self.key_value(memory)]
        return attend(
            parts,
            n_heads=self.n_heads,
            head_width=self.head_width,
            segments=segments,
            causal=causal,
        )

    def _from_memory(
        self, x: Tensor, memory: Tensor | None, cache: LayerCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = self.query_norm(self._split(self.query(x)))  # (B, H, T, K)
        if cache is not None and cache.cross_key is not None and cache.cross_value is not None:
            return query, cache.cross_key, cache.cross_value
        assert memory is not None, "cross attention needs a memory or a filled cache"
        key, value = self.of_memory(memory)
        if cache is not None:
            cache.set_cross(key, value)
        return query, key, value

    def of_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of cross attention: (B, S, D) -> 2 x (B, G, S, K)."""
        # (B, S, D) -> (B, S, 2 G K) -> 2 x (B, G, S, K)
        parts = self.key_value(memory).split(self.widths[1:], dim=-1)
        key, value = (self._split(part) for part in parts)
        return self.key_norm(key), value

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, H K) -> (B, H, T, K), and likewise with G heads."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)


def _together(query: Tensor, count: int) -> Tensor:
    """(B, H, T, K) -> (B / count, H, count T, K): rows with one memory are queries of one row."""
    return query.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)


def _apart(heads: Tensor, count: int) -> Tensor:
    """(B / count, H, count T, K) -> (B, H, T, K)."""
    return heads.unflatten(2, (count, -1)).transpose(1, 2).flatten(0, 1)
