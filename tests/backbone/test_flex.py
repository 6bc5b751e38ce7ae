"""Flex attention, not compiled and on a CPU, against the definition: what it is asked to compute.

That it is computed on a GPU is tested in test_gpu_kernels.py.

Legend: B batch, H heads, G groups of heads, T positions, K head width.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention

from heed.backbone import flex, packed_attention
from heed.backbone.flex import FlexAttention
from heed.backbone.kernels import reference_attention
from heed.backbone.packed import Packed, Segments
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.windowed import near

B, H, G, T, K = 2, 4, 2, 150, 16


def never(*_: object, **__: object) -> Tensor:
    raise AssertionError("flex attention was not used")


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(flex, "DEVICES", ("cpu",))
    monkeypatch.setattr(packed_attention, "DEVICES", ("cpu",))
    monkeypatch.setattr(flex, "_compiled", lambda kind: flex._attend)
    # Not compiled, it has a backward pass on a CPU too, though torch refuses it.
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(flex_attention, "_warn_once", lambda **words: None)
    yield
    torch._dynamo.reset()


def compare(results: list[list[Tensor]]) -> None:
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def inputs(*lengths: int, rows: int = B) -> list[Tensor]:
    torch.manual_seed(1)
    heads = (H, G, G)
    return [
        torch.randn(rows, n, length, K, requires_grad=True)
        for n, length in zip(heads, lengths, strict=True)
    ]


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize(
    ("masked", "biased", "cap", "causal"),
    [
        ("no", False, None, True),
        ("keys", True, None, False),
        ("keys", False, 1.5, True),
        ("pairs", True, 1.5, False),
    ],
)
@pytest.mark.usefixtures("on_cpu")
def test_it_gives_what_the_definition_gives(
    window: int | None, masked: str, biased: bool, cap: float | None, causal: bool
) -> None:
    positions = torch.arange(T)
    mask = {
        "no": None,
        "keys": (positions < torch.tensor([T, 90])[:, None])[:, None, None],
        "pairs": torch.rand(B, 1, T, T) < 0.3,
    }[masked]
    allowed = mask
    if window is not None and masked != "pairs":  # which hold the window already
        allowed = near(positions, positions, window)
        allowed = allowed if mask is None else allowed & mask
    results = []
    for fast in (False, True):
        x = inputs(T, T, T)
        bias = torch.randn(1, H, T, T, requires_grad=True) if biased else None
        kernel = CappedAttention(cap=cap) if cap else reference_attention
        if fast:
            kernel = FlexAttention(window=window, cap=cap, otherwise=never)
        output = kernel(*x, mask=mask if fast else allowed, bias=bias, causal=causal)
        output.square().sum().backward()
        results.append([output, *(y.grad for y in (*x, *([bias] if bias is not None else [])))])
    compare(results)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.usefixtures("on_cpu")
def test_packed_rows_see_themselves(causal: bool, window: int | None) -> None:
    layout = Packed.of(torch.tensor([40, 0, 3, 90]), T)
    rows = layout.segments()
    same = rows[:, None] == rows
    if window is not None:
        same = same & near(layout.positions(), layout.positions(), window)[0, 0]
    results = []
    for fast in (False, True):
        x = inputs(T, T, T, rows=1)
        if fast:
            output = packed_attention.packed_attention(
                FlexAttention(window=window, cap=None, otherwise=never),
                *x,
                segments=Segments(layout, layout),
                causal=causal,
            )
        else:
            output = reference_attention(*x, mask=same[None, None], causal=causal)
        output.square().sum().backward()
        results.append([output, *(y.grad for y in x)])
    compare(results)


@pytest.mark.usefixtures("on_cpu")
def test_layers_share_the_blocks_of_a_mask_while_it_lives() -> None:
    kernel = FlexAttention(window=None, cap=None, otherwise=never)
    mask = torch.ones(B, 1, 1, T, dtype=torch.bool)
    before = len(flex._kept)
    with torch.no_grad():
        whole = kernel(*inputs(T, T, T), mask=mask)
        kernel(*inputs(T, T, T), mask=mask)
        assert len(flex._kept) == before + 1
        assert len(flex._kept[mask]) == 1
        mask[:, :, :, 70:] = False  # another mask now, in the same place
        assert not torch.equal(kernel(*inputs(T, T, T), mask=mask), whole)
    del mask
    gc.collect()
    assert len(flex._kept) == before


@pytest.mark.usefixtures("on_cpu")
def test_blocks_made_in_validation_serve_training() -> None:
    mask = torch.ones(B, 1, 1, T, dtype=torch.bool)
    kernel = FlexAttention(window=None, cap=None, otherwise=never)
    with torch.inference_mode():
        kernel(*inputs(T, T, T), mask=mask)
    x = inputs(T, T, T)
    kernel(*x, mask=mask).sum().backward()
    assert x[0].grad is not None


def test_without_a_gpu_another_kernel_computes_the_same() -> None:
    x = inputs(T, T, T)
    found = FlexAttention(window=None, cap=None, otherwise=reference_attention)(*x, causal=True)
    assert torch.equal(found, reference_attention(*x, causal=True))
