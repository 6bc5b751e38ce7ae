"""Kernels of a GPU against the definition, on one. See benchmarks/gpu_kernels.py for their times.

Legend: B batch, H heads, G groups of heads, T positions, K head width.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heed.backbone.automatic import FLEX_FROM, AutomaticAttention
from heed.backbone.flex import FlexAttention
from heed.backbone.kernels import Kernel, auto_attention, reference_attention, sdpa_attention
from heed.backbone.layout import Padded
from heed.backbone.packed import Packed, Segments, pack, unpack
from heed.backbone.packed_attention import can_vary, packed_attention, varying_attention
from heed.backbone.transformer import Transformer
from heed.backbone.windowed import WindowedAttention, near

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    pytest.mark.filterwarnings("ignore"),  # what compiling says of its own
]
B, H, G, T, K = 3, 4, 2, 300, 64


def never(*_: object, **__: object) -> Tensor:
    raise AssertionError("flex attention was not used")


def outcome(kernel: Kernel, dtype: torch.dtype, rows: int = B, **options: object) -> list[Tensor]:
    torch.manual_seed(1)
    x = [torch.randn(rows, n, T, K).bfloat16().to("cuda", dtype) for n in (H, G, G)]
    x = [y.requires_grad_() for y in x]
    output = kernel(*x, **options)
    torch.manual_seed(2)
    (output.float() * torch.randn(output.shape).cuda()).sum().backward()
    return [output.detach().float(), *(y.grad.float() for y in x if y.grad is not None)]


def assert_near(found: list[Tensor], expected: list[Tensor], dtype: torch.dtype) -> None:
    share = 1e-4 if dtype == torch.float32 else 2e-2
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= share * b.abs().max()


@pytest.mark.parametrize(
    ("dtype", "window", "causal"),
    [
        (torch.float32, None, False),
        (torch.bfloat16, None, True),
        (torch.bfloat16, 40, False),
        (torch.bfloat16, 40, True),
    ],
)
def test_padded_rows(dtype: torch.dtype, window: int | None, causal: bool) -> None:
    positions = torch.arange(T, device="cuda")
    mask = (positions < torch.tensor([[T], [1], [170]], device="cuda"))[:, None, None]
    allowed = mask if window is None else mask & near(positions, positions, window)
    expected = outcome(reference_attention, torch.float32, mask=allowed, causal=causal)
    found = outcome(sdpa_attention, dtype, mask=allowed, causal=causal)
    assert_near(found, expected, dtype)
    kernels: list[Kernel] = [FlexAttention(window=window, cap=None, otherwise=never)]
    if window is not None:
        kernels.append(WindowedAttention(window=window, kernel=auto_attention))
    for kernel in kernels:
        assert_near(outcome(kernel, dtype, mask=mask, causal=causal), expected, dtype)


@pytest.mark.parametrize(("window", "causal"), [(None, True), (40, False), (40, True)])
def test_packed_rows(window: int | None, causal: bool) -> None:
    layout = Packed.of(torch.tensor([40, 0, 3, 190], device="cuda"), T)
    segments = Segments(layout, layout)
    allowed = layout.segments()[:, None] == layout.segments()
    if window is not None:
        allowed = allowed & near(layout.positions(), layout.positions(), window)[0, 0]
    expected = outcome(
        reference_attention, torch.float32, rows=1, mask=allowed[None, None], causal=causal
    )

    def flex(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        kernel = FlexAttention(window=window, cap=None, otherwise=never)
        return packed_attention(kernel, query, key, value, segments=segments, causal=causal)

    def varying(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return varying_attention(query, key, value, segments=segments, causal=causal, window=window)

    assert_near(outcome(flex, torch.bfloat16, rows=1), expected, torch.bfloat16)
    if can_vary(torch.empty(1, H, T, K, dtype=torch.bfloat16, device="cuda"), window):
        assert_near(outcome(varying, torch.bfloat16, rows=1), expected, torch.bfloat16)


@pytest.mark.parametrize("kernel", ["auto", "flex"])
def test_a_packed_model_gives_what_a_padded_one_gives(kernel: str) -> None:
    torch.manual_seed(1)
    sizes = {"d_model": 128, "n_heads": 2, "d_feed_forward": 64, "n_layers": 2, "dropout": 0.0}
    model = Transformer(shape="encoder_decoder", vocabulary_size=31, kernel=kernel, **sizes).cuda()
    layouts = [Padded(torch.tensor(n, device="cuda"), 200) for n in ([200, 7, 90], [3, 150, 200])]
    ids = [torch.randint(31, (3, 200), device="cuda") for _ in layouts]
    with torch.autocast("cuda", torch.bfloat16):
        expected = model.decode(ids[1], layouts[1], model.encode(ids[0], layouts[0]), layouts[0])
        source, target = (pack(x, layout) for x, layout in zip(ids, layouts, strict=True))
        found = model.decode(*target, model.encode(*source), source[1])
    found = unpack(found.float(), target[1], 200)
    expected = expected.float().masked_fill(~layouts[1].mask()[..., None], 0.0)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)
    assert (found - expected).square().mean() < 1e-4 * expected.square().mean()


@pytest.mark.parametrize("learned", [False, True])
def test_a_bias(learned: bool) -> None:
    bias = torch.randn(1, H, T, T, device="cuda")
    kernel = FlexAttention(window=None, cap=None, otherwise=never)
    found, expected = [
        outcome(k, torch.bfloat16, bias=bias.requires_grad_(learned))
        for k in (kernel, reference_attention)
    ]
    assert_near(found, expected, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_automatic_windows_are_flex_in_half_precision(dtype: torch.dtype) -> None:
    flex = FlexAttention(window=40, cap=None, otherwise=never)
    chunks = WindowedAttention(window=40, kernel=auto_attention)
    chosen = AutomaticAttention(flex=flex, otherwise=chunks if dtype == torch.float32 else never)
    x = torch.randn(1, 2, FLEX_FROM, K, device="cuda", dtype=dtype)
    torch.testing.assert_close(chosen(x, x, x), chunks(x, x, x), atol=2e-2, rtol=2e-2)


def test_many_lengths_do_not_end_compiling() -> None:
    """More shapes than torch would compile one piece of code for."""
    kernel = FlexAttention(window=None, cap=None, otherwise=never)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for length in range(130, 400, 19):
            x = torch.randn(2, H, length, K, device="cuda")
            mask = (torch.arange(length, device="cuda") < 100 + length // 3)[None, None, None]
            assert_near(
                [kernel(x, x, x, mask=mask)],
                [reference_attention(x, x, x, mask=mask)],
                torch.float32,
            )
