"""Attention over packed rows that are short, by the kernels of `segment_kernels.py`.

Queries, keys and values may come as one projection, as queries and a projection to keys and values,
or apart; their gradients come back in the same form, each written once.

Legend: R rows, H heads, G groups of heads, Nq queries, Nk keys, K head width.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heed.backbone.packed import Segments
from heed.backbone.triton_kernels import runs_triton

WIDTHS = (16, 32, 64, 128, 256)
"""Head widths that there are kernels for."""
LONGEST = 256
"""Rows up to this are short, and `auto` takes these kernels. Measured around 30 tokens, where they
take 2.2 ms of a step in place of 7.6 (docs/notes/speed.md)."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
TILE_BYTES = 8192
"""No tile of queries or keys is larger than this, so that those of a program stay in registers."""
LARGEST_TILE = 64
LONGEST_ALONE = 256
"""Rows up to this are each done by one program a head."""


class Plan(NamedTuple):
    """How a kernel is launched.

    Args:
        queries: Of a tile: 16, 32, 64 or 128; likewise `keys`.
        warps: Of a program.
        stages: Tiles that a loop reads ahead, and the one it works on.
    """

    queries: int
    keys: int
    warps: int
    stages: int = 1


def plan(longest_queries: int, longest_keys: int, width: int, itemsize: int) -> Plan:
    """Tiles for rows of these lengths, of either pass."""
    most = min(LARGEST_TILE, TILE_BYTES // (width * itemsize))
    queries, keys = (_tile(x, most) for x in (longest_queries, longest_keys))
    return Plan(queries, keys, warps=4 if max(queries, keys) * width > 16 * 64 else 2)


def _tile(longest: int, most: int) -> int:
    return max(16, min(most, 1 << max(longest - 1, 1).bit_length()))


def can_segment(*tensors: Tensor) -> bool:
    """Whether queries, keys and values like these can be computed here: on an NVIDIA GPU of the
    Ampere generation or newer with Triton, with a head width and type that there are kernels for.
    """
    first = tensors[0]
    if any(x.dtype != first.dtype or x.device != first.device for x in tensors):
        return False
    return first.dtype in DTYPES and can_run(first.device.type, first.shape[-1])


def can_run(device: str, head_width: int) -> bool:
    """The same for heads of this width on this kind of device."""
    return head_width in WIDTHS and runs_triton(device)


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    segments: Segments,
    causal: bool = False,
) -> Tensor:
    """Each row's queries gather the values of the row with their number; what is left: zeros.

    Args:
        query: (1, H, Nq, K).
        key: (1, G, Nk, K); G divides H. Likewise `value`.
        segments: Which positions are one row.
        causal: Position t of a row sees 0..t of it; queries and keys are then the same positions.

    Returns:
        (1, H, Nq, K), which lies so that transposing to (1, Nq, H, K) makes it contiguous.
    """
    # (1, H, N, K) -> (N, H, K)
    parts = [x.squeeze(0).transpose(0, 1) for x in (query, key, value)]
    found = _attend(parts, segments, query.shape[1], causal)
    return found.transpose(0, 1)[None]


def projected_segment_attention(
    parts: list[Tensor], *, n_heads: int, head_width: int, segments: Segments, causal: bool = False
) -> Tensor:
    """The same over projections, whose gradients are then not put together from three.

    Args:
        parts: (1, N, (H + 2 G) K), queries, keys and values of each position; or (1, Nq, H K) and
            (1, Nk, 2 G K), those of cross attention.
        n_heads: H.
        head_width: K.
        segments: Which positions are one row.
        causal: As in `segment_attention`.

    Returns:
        (1, Nq, H K).
    """
    # (N, heads, K) each; to take x[0] would copy gradients into a tensor of zeros
    heads = [x.flatten(0, 1).unflatten(-1, (-1, head_width)) for x in parts]
    return _attend(heads, segments, n_heads, causal).flatten(1)[None]


def _attend(parts: list[Tensor], segments: Segments, n_heads: int, causal: bool) -> Tensor:
    """(N, heads, K) each -> (Nq, H, K)."""
    queries, keys = segments.queries, segments.keys
    lie = Lie(
        *(queries.offsets, keys.offsets, queries.rows, queries.longest, keys.longest),
        n_heads,
        causal,
    )
    found, _ = torch.ops.heed.segment_attention(parts, *lie)
    assert isinstance(found, Tensor)
    return found


def _split(parts: list[Tensor], n_heads: int) -> list[Tensor]:
    """Views (Nq, H, K), (Nk, G, K), (Nk, G, K) of one, two or three tensors."""
    if len(parts) == 3:
        return list(parts)
    if len(parts) == 2:
        return [parts[0], *parts[1].chunk(2, 1)]
    groups = (parts[0].shape[1] - n_heads) // 2
    return list(parts[0].split([n_heads, groups, groups], 1))


def _empty_results(parts: list[Tensor], n_heads: int) -> tuple[Tensor, Tensor]:
    positions, _, width = parts[0].shape
    output = parts[0].new_empty(positions, n_heads, width)
    return output, parts[0].new_empty(n_heads, positions, dtype=torch.float32)


class Lie(NamedTuple):
    """How rows lie, and what is asked of them, as operators are told.

    Attributes:
        query_offsets: (R + 2,) int32, as `Packed.offsets`; likewise `key_offsets`.
        rows: R.
        longest_queries: Of a row, at most; likewise `longest_keys`.
        n_heads: H.
        causal: Whether position t of a row sees 0..t of it.
    """

    query_offsets: Tensor
    key_offsets: Tensor
    rows: int
    longest_queries: int
    longest_keys: int
    n_heads: int
    causal: bool

    def constants(self, output: Tensor, groups: int) -> dict[str, Any]:
        """What a kernel is compiled for: the output is (Nq, H, K), keys have G heads."""
        width = output.shape[2]
        chosen = plan(self.longest_queries, self.longest_keys, width, output.element_size())
        return {
            "HEADS": self.n_heads,
            "SHARED": self.n_heads // groups,
            "WIDTH": width,
            "QUERIES": chosen.queries,
            "KEYS": chosen.keys,
            "CAUSAL": self.causal,
            "PRECISION": _precision(),
            "num_warps": chosen.warps,
            "num_stages": chosen.stages,
        }


def _forward(parts: list[Tensor], *given: Any) -> tuple[Tensor, Tensor]:
    """(N, heads, K) each and a `Lie` -> (Nq, H, K) and the sums' logarithms to base 2, (H, Nq)."""
    from heed.backbone.segment_kernels import forward_kernel

    lie = Lie(*given)
    output, log_sums = _empty_results(parts, lie.n_heads)
    tensors = [dense(x) for x in _split(parts, lie.n_heads)]
    segments = lie.query_offsets.shape[0] - 1
    shared = max(1, lie.longest_queries // LONGEST_ALONE)  # programs a row
    forward_kernel[(segments * lie.n_heads, shared)](
        *tensors,
        *(output, log_sums, lie.query_offsets, lie.key_offsets, lie.rows, output.shape[0]),
        *(stride for x in tensors for stride in x.stride()[:2]),
        scale_of_scores(output.shape[2]),
        **lie.constants(output, groups=tensors[1].shape[1]),
    )
    return output, log_sums


def _backward(
    gradient: Tensor, parts: list[Tensor], output: Tensor, log_sums: Tensor, *given: Any
) -> list[Tensor]:
    """(Nq, H, K) and what `_forward` was given and gave -> the gradients of the parts."""
    from heed.backbone.segment_kernels import backward_kernel

    lie = Lie(*given)
    tensors = [dense(x) for x in (*_split(parts, lie.n_heads), gradient)]
    results = [x.new_empty(x.shape) for x in parts]
    gradients = _split(results, lie.n_heads)
    width, groups = output.shape[2], tensors[1].shape[1]
    segments = lie.query_offsets.shape[0] - 1
    longest = max(lie.longest_queries, lie.longest_keys)
    backward_kernel[(segments * groups, max(1, longest // LONGEST_ALONE))](
        *tensors[:3],
        *(output, log_sums, tensors[3], *gradients),
        *(lie.query_offsets, lie.key_offsets, lie.rows, output.shape[0]),
        *(stride for x in tensors for stride in x.stride()[:2]),
        *(x.stride(0) for x in gradients),
        scale_of_scores(width),
        width**-0.5,
        **lie.constants(output, groups=groups),
    )
    return results


def dense(x: Tensor) -> Tensor:
    """With the numbers of a head side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def scale_of_scores(width: int) -> float:
    """Of scores, so that exp2 of them are weights."""
    return width**-0.5 / math.log(2.0)


def _precision() -> str:
    """How fp32 is multiplied; half precision is not concerned."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    parts, query_offsets, key_offsets, *ctx.rest = inputs
    ctx.save_for_backward(*parts, *output, query_offsets, key_offsets)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    *parts, output, log_sums, query_offsets, key_offsets = ctx.saved_tensors
    lie = (query_offsets, key_offsets, *ctx.rest)
    gradients = torch.ops.heed.segment_attention_backward(gradient, parts, output, log_sums, *lie)
    return gradients, *(None for _ in lie)


# As operators that torch knows, they are not looked into while it compiles.
_LAYOUT = (
    "Tensor query_offsets, Tensor key_offsets, SymInt rows, SymInt longest_queries, "
    "SymInt longest_keys, SymInt n_heads, bool causal"
)
_forward_operator = torch.library.custom_op(
    "heed::segment_attention",
    _forward,
    mutates_args=(),
    schema=f"(Tensor[] parts, {_LAYOUT}) -> (Tensor, Tensor)",
)
_backward_operator = torch.library.custom_op(
    "heed::segment_attention_backward",
    _backward,
    mutates_args=(),
    schema=f"(Tensor gradient, Tensor[] parts, Tensor output, Tensor log_sums, {_LAYOUT}) "
    "-> Tensor[]",
)
_forward_operator.register_fake(lambda parts, *lie: _empty_results(parts, lie[-2]))
_backward_operator.register_fake(lambda _, parts, *rest: [x.new_empty(x.shape) for x in parts])
_forward_operator.register_autograd(_differentiate, setup_context=_keep)
