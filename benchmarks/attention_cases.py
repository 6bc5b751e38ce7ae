"""What the attention kernels are asked to compute in `gpu_kernels.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heed.backbone.flex import FlexAttention
from heed.backbone.kernels import auto_attention, reference_attention, sdpa_attention
from heed.backbone.layout import Padded
from heed.backbone.packed import Packed, Segments
from heed.backbone.packed_attention import can_vary, packed_attention, varying_attention
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.windowed import WindowedAttention, near

Arm = Callable[[list[Tensor]], Tensor]
"""Query, key, value and perhaps a bias -> (B, H, Tq, K) or (1, H, Nq, K)."""


class Case(NamedTuple):
    """Something to compute: inputs, the definition, and the kernels that shall agree with it."""

    name: str
    shapes: list[tuple[int, ...]]
    definition: Callable[[list[Tensor]], Tensor]
    arms: dict[str, Arm]
    real: Tensor | None = None  # (B, 1, Tq, 1) or (1, 1, Nq, 1), the queries that are read
    in_fp32: bool = False


def flex(window: int | None = None, cap: float | None = None) -> FlexAttention:
    return FlexAttention(window=window, cap=cap, otherwise=_never)


def _never(*_: Any, **__: Any) -> Tensor:
    raise AssertionError("flex attention was not used")


def padded_case(
    name: str,
    device: torch.device,
    *,
    rows: int,
    width: int,
    heads: int = 8,
    groups: int = 8,
    causal: bool = False,
    window: int | None = None,
    cap: float | None = None,
    biased: bool = False,
    ragged: bool = True,
    in_fp32: bool = False,
) -> Case:
    """Self attention of rows padded on the right."""
    lengths = torch.randint(width // 4, width + 1, (rows,), device=device)
    lengths = lengths if ragged else torch.full_like(lengths, width)
    real = Padded(lengths, width).mask()
    mask = real[:, None, None] if ragged else None
    if window is not None:
        positions = torch.arange(width, device=device)
        band = near(positions, positions, window)
        in_window = band if mask is None else band & mask
    else:
        in_window = mask
    plain = CappedAttention(cap=cap) if cap else reference_attention
    options: dict[str, Any] = {"causal": causal}

    def biases(x: list[Tensor]) -> dict[str, Any]:
        return {**options, "bias": x[3] if biased else None}

    arms: dict[str, Arm] = {"flex": lambda x: flex(window, cap)(*x[:3], mask=mask, **biases(x))}
    if not cap:
        arms = {"sdpa": lambda x: sdpa_attention(*x[:3], mask=in_window, **biases(x)), **arms}
    if window is not None:
        chunked = WindowedAttention(window=window, kernel=auto_attention)
        arms["chunks"] = lambda x: chunked(*x[:3], mask=mask, **options)
    arms["reference"] = lambda x: plain(*x[:3], mask=in_window, **biases(x))
    shapes = [(rows, n, width, 64) for n in (heads, groups, groups)]
    return Case(
        name=f"{name}: {rows} rows of {width}",
        shapes=[*shapes, (1, heads, width, width)] if biased else shapes,
        definition=lambda x: plain(*x[:3], mask=in_window, **biases(x)),
        arms=arms,
        real=real[:, None, :, None],
        in_fp32=in_fp32,
    )


def packed_case(
    name: str,
    device: torch.device,
    lengths: list[int],
    *,
    keys: list[int] | None = None,
    groups: int = 8,
    causal: bool = False,
    window: int | None = None,
    room: int = 0,
    in_fp32: bool = False,
) -> Case:
    """Rows one after another; `keys`: the rows of another text that they look at."""
    queries = Packed.of(torch.tensor(lengths, device=device), sum(lengths) + room)
    others = queries
    if keys is not None:
        others = Packed.of(torch.tensor(keys, device=device))
    segments = Segments(queries, others)
    same = queries.segments()[:, None] == others.segments()
    if window is not None:
        same = same & near(queries.positions(), others.positions(), window)[0, 0]
    if causal:
        same = same & (others.positions() <= queries.positions()[:, None])

    def over(kernel: Any) -> Arm:
        return lambda x: packed_attention(kernel, *x[:3], segments=segments, causal=causal)

    def varlen(x: list[Tensor]) -> Tensor:
        assert can_vary(x[0], window), "this torch or GPU has none, or no windows"
        return varying_attention(*x[:3], segments=segments, causal=causal, window=window)

    return Case(
        name=f"{name}: {len(lengths)} rows of {min(lengths)} to {max(lengths)}",
        shapes=[(1, 8, queries.width, 64), *(2 * [(1, groups, others.width, 64)])],
        definition=lambda x: reference_attention(*x, mask=same[None, None]),
        arms={
            "rows, sdpa": over(
                WindowedAttention(window=window, kernel=sdpa_attention)
                if window
                else sdpa_attention
            ),
            "varlen": varlen,
            "flex": over(flex(window)),
        },
        real=queries.mask()[:, None, :, None],
        in_fp32=in_fp32,
    )


def cases(device: torch.device) -> Iterator[Case]:
    """All of them, the most important first."""
    torch.manual_seed(1)
    short = torch.randint(5, 61, (256,)).tolist()
    uneven = torch.randint(16, 900, (24,)).tolist()
    empty = [300, 0, 17, 128, 1, 0, 511]
    yield padded_case("padded", device, rows=16, width=512, in_fp32=True)
    yield padded_case("causal", device, rows=16, width=512, causal=True, ragged=False)
    yield padded_case("window 128", device, rows=4, width=3000, window=128, in_fp32=True)
    yield packed_case("packed, short", device, short, causal=True)
    yield packed_case("packed, uneven", device, uneven, in_fp32=True)
    yield packed_case("packed, window 64", device, uneven, window=64)
    yield packed_case("packed, causal window 64", device, uneven, window=64, causal=True)
    yield packed_case("packed, empty rows, room", device, empty, room=131, groups=2)
    yield packed_case(
        "packed, cross", device, short, keys=torch.randint(0, 90, (256,)).tolist(), room=77
    )
    yield padded_case("bias", device, rows=4, width=512, biased=True)
    yield padded_case("soft cap", device, rows=4, width=500, cap=3.0, causal=True)
    yield padded_case("2 groups", device, rows=8, width=640, groups=2, causal=True)
    yield padded_case("long", device, rows=1, width=8192, window=256, ragged=False)
    yield padded_case("long rows of 1024", device, rows=16, width=1024)
    yield padded_case("long rows of 2048", device, rows=8, width=2048)
    yield padded_case("long rows of 4096", device, rows=4, width=4096)
    yield padded_case("short window 128", device, rows=16, width=512, window=128)
