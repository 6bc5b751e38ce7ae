"""Attention over packed rows, by the fastest way that there is.

Legend: R rows, H heads, G groups of heads, Nq queries, Nk keys, K head width, L length of the
longest row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heed.backbone import segment_attention
from heed.backbone.automatic import AutomaticAttention
from heed.backbone.block_masks import Rules, block_mask
from heed.backbone.flex import DEVICES, FlexAttention, flex
from heed.backbone.kernels import Kernel, auto_attention, share_heads
from heed.backbone.packed import Packed, Segments
from heed.backbone.row_attention import projected_row_attention
from heed.backbone.windowed import WindowedAttention

try:
    from torch.nn.attention import varlen
except ImportError:  # before torch 2.10
    VARLEN: Any = None
else:
    VARLEN = varlen.varlen_attn
VARLEN_OPTIONS = frozenset(inspect.signature(VARLEN).parameters if VARLEN else ())
"""What this torch's function can be told; nothing if there is none."""


def packed_attention(
    kernel: Kernel,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segments: Segments,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """What a kernel computes row by row, of all rows together.

    Flex attention looks at blocks of the long row that share a row. In place of the automatic
    kernel, Heed's own for short rows is taken where it can be, and FlashAttention for rows of
    different lengths where they are longer or there is a window. Any other kernel is given the rows
    padded to the longest.

    Args:
        kernel: What to compute.
        query: (1, H, Nq, K).
        key: (1, G, Nk, K); likewise `value`.
        segments: Which positions are one row.
        bias: Float, broadcastable to (R, H, Lq, Lk), by positions in a row; None: nothing.
        causal: Position t of a row sees 0..t of it.
        dropout_p: Probability of dropping an attention weight.

    Returns:
        (1, H, Nq, K).
    """
    if isinstance(kernel, AutomaticAttention):
        kernel = kernel.otherwise
    plain = bias is None and dropout_p == 0.0
    if isinstance(kernel, FlexAttention) and plain and query.device.type in DEVICES:
        return _by_blocks(kernel, query, key, value, segments=segments, causal=causal)
    window, inner = None, kernel
    if isinstance(kernel, WindowedAttention):
        window, inner = kernel.window, kernel.kernel
    plain = plain and inner is auto_attention
    if (
        plain
        and window is None
        and _short(segments)
        and segment_attention.can_segment(query, key, value)
    ):
        return segment_attention.segment_attention(
            query, key, value, segments=segments, causal=causal
        )
    if plain and can_vary(query, window):
        return varying_attention(query, key, value, segments=segments, causal=causal, window=window)
    return _by_rows(
        kernel, query, key, value, segments=segments, bias=bias, causal=causal, dropout_p=dropout_p
    )


def _short(segments: Segments) -> bool:
    """Whether rows are so short that `segment_attention` is the faster one."""
    longest = max(segments.queries.longest, segments.keys.longest)
    return longest <= segment_attention.LONGEST


def projected_attention(
    kernel: Kernel, segments: Segments, head_width: int, device: torch.device
) -> Callable[..., Tensor] | None:
    """What computes `packed_attention` from projections in fewer passes, called as
    `projected_segment_attention`; None: queries, keys and values have to be taken apart."""
    if isinstance(kernel, AutomaticAttention):
        kernel = kernel.otherwise
    if kernel is not auto_attention:
        return None
    if _short(segments) and segment_attention.can_run(device.type, head_width):
        return segment_attention.projected_segment_attention
    if device.type == "cpu" and not torch.compiler.is_compiling():
        return projected_row_attention
    return None


def can_vary(query: Tensor, window: int | None = None) -> bool:
    """Whether `varying_attention` can be used here: half precision on a GPU of the Ampere
    generation or newer, heads no wider than 256, and torch 2.10 (with a window, a newer one)."""
    if query.device.type != "cuda" or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    if query.shape[-1] > 256 or query.shape[-1] % 8:
        return False
    return _varies(windowed=window is not None)


@torch.compiler.assume_constant_result
def _varies(*, windowed: bool) -> bool:
    """Whether this torch and this GPU have the function, with a window if it is asked for."""
    known = VARLEN_OPTIONS
    if torch.version.hip is not None or not known or (windowed and "window_size" not in known):
        return False
    return torch.cuda.get_device_capability() >= (8, 0)


def varying_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segments: Segments,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """FlashAttention over rows of different lengths (Dao 2023); see `packed_attention`.

    Args:
        window: How far a query sees to each side; None: everywhere.
    """
    known = VARLEN_OPTIONS
    options: dict[str, Any] = {}
    if "is_causal" in known:
        options["is_causal"] = causal
    if "window_size" in known:
        before = -1 if window is None else window
        options["window_size"] = (before, 0 if causal else before)
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            key, value = share_heads(key, query.shape[1]), share_heads(value, query.shape[1])
    # (1, H, N, K) -> (N, H, K)
    found = VARLEN(
        *(x[0].transpose(0, 1).contiguous() for x in (query, key, value)),
        segments.queries.offsets,
        segments.keys.offsets,
        segments.queries.longest,
        segments.keys.longest,
        **options,
    )
    assert isinstance(found, Tensor)
    return found.transpose(0, 1)[None]


def _by_blocks(
    kernel: FlexAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segments: Segments,
    causal: bool,
) -> Tensor:
    """Flex attention over the long rows: within a row, distances there are those in the row."""
    queries, keys = segments.queries, segments.keys
    asked = (causal, kernel.window)
    if asked not in segments.kept:
        rules = Rules(
            causal=causal,
            window=kernel.window,
            query_segments=queries.segments(),
            key_segments=keys.segments(),
        )
        segments.kept[asked] = block_mask(rules, queries.width, keys.width, query.device)
    return flex(query, key, value, blocks=segments.kept[asked], cap=kernel.cap)


def _by_rows(
    kernel: Kernel,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segments: Segments,
    bias: Tensor | None,
    causal: bool,
    dropout_p: float,
) -> Tensor:
    """Rows padded to the longest, and packed again."""
    queries, keys = segments.queries, segments.keys
    # (1, H, N, K) -> (R + 1, H, L, K)
    rows = [_padded(x, layout) for x, layout in ((query, queries), (key, keys), (value, keys))]
    real = torch.arange(rows[1].shape[2], device=key.device) < keys.offsets.diff()[:, None]
    found = kernel(*rows, mask=real[:, None, None], bias=bias, causal=causal, dropout_p=dropout_p)
    # (R + 1, H, L, K) -> (N, H, K) -> (1, H, N, K)
    return found[queries.segments(), :, queries.positions()].transpose(0, 1)[None]


def _padded(x: Tensor, layout: Packed) -> Tensor:
    """(1, H, N, K) -> (R + 1, H, L, K), arbitrary beyond each row's end."""
    longest = layout.longest
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        longest = int(layout.offsets.diff().max())  # of these rows, which costs nothing to ask here
    positions = torch.arange(longest, device=x.device)
    places = (layout.offsets[:-1, None] + positions).clamp(max=layout.width - 1)
    return x[0][:, places].transpose(0, 1)  # (H, R + 1, L, K) -> (R + 1, H, L, K)
