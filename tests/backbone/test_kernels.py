"""Every kernel gives what the definition gives, forward, backward and masked.

Legend: B batch, H heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from heed.backbone import batched_attention, kernels
from heed.backbone.additive import AdditiveAttention
from heed.backbone.kernels import (
    FUSED_FROM,
    Kernel,
    attention_weights,
    auto_attention,
    reference_attention,
    sdpa_attention,
)
from heed.backbone.soft_cap import CappedAttention

B, H, TQ, TK, K = 2, 3, 5, 7, 11
FAST = {"sdpa": sdpa_attention, "auto": auto_attention}
ALL = {"reference": reference_attention, **FAST}
CAPPED = CappedAttention(cap=1.5)


def inputs(*, keys: int = TK, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(3)
    lengths = (TQ, keys, keys)
    return [torch.randn(B, H, length, K, dtype=dtype, requires_grad=True) for length in lengths]


def masks() -> dict[str, Tensor | None]:
    torch.manual_seed(5)
    full = torch.rand(B, 1, TQ, TK) < 0.6
    full[0, 0, 2] = False  # a query with nothing to attend to
    padding = torch.ones(B, 1, 1, TK, dtype=torch.bool)
    padding[1, ..., 3:] = False
    return {"none": None, "padding": padding, "any": full}


def biases(keys: int) -> list[Tensor | None]:
    torch.manual_seed(6)
    return [None, torch.randn(1, H, TQ, keys), torch.randn(B, H, 1, keys)]


def by_einsum(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    bias: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """The paper's formula, one exponential at a time."""
    scores = torch.einsum("bhqk,bhtk->bhqt", query, key) / math.sqrt(K)
    if cap is not None:
        scores = cap * (2 / (1 + (-2 * scores / cap).exp()) - 1)
    if bias is not None:
        scores = scores + bias
    exponentials = scores.exp()
    if mask is not None:
        exponentials = exponentials * mask
    total = exponentials.sum(-1, keepdim=True)
    weights = torch.where(total > 0, exponentials / total.clamp(min=1e-30), 0.0)
    return torch.einsum("bhqt,bhtk->bhqk", weights, value)


@pytest.mark.parametrize("mask_name", ["none", "padding", "any"])
def test_the_reference_is_the_papers_formula(mask_name: str) -> None:
    query, key, value = inputs()
    mask = masks()[mask_name]
    for bias in biases(TK):
        expected = by_einsum(query, key, value, mask, bias=bias)
        actual = reference_attention(query, key, value, mask=mask, bias=bias)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("mask_name", ["none", "padding", "any"])
def test_capped_scores_go_through_a_tanh_before_the_bias(mask_name: str) -> None:
    query, key, value = inputs()
    mask = masks()[mask_name]
    for bias in biases(TK):
        expected = by_einsum(query, key, value, mask, bias=bias, cap=0.7)
        actual = CappedAttention(cap=0.7)(query, key, value, mask=mask, bias=bias)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("mask_name", ["none", "padding", "any"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [0, 1, 2])
def test_a_fast_kernel_agrees_with_the_reference(
    name: str, mask_name: str, causal: bool, biased: int
) -> None:
    mask = masks()[mask_name]
    keys = TQ if causal else TK
    if mask is not None:
        mask = mask[..., :keys]
    bias = biases(keys)[biased]
    results = []
    for kernel in (reference_attention, FAST[name]):
        tensors = inputs(keys=keys)
        if bias is not None:
            bias = bias.detach().requires_grad_()
            tensors.append(bias)
        output = kernel(*tensors[:3], mask=mask, bias=bias, causal=causal)
        output.square().sum().backward()
        results.append([output, *(tensor.grad for tensor in tensors)])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [*ALL, "additive", "capped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_with_nothing_to_attend_to_gets_zeros(name: str, dtype: torch.dtype) -> None:
    kernel: Kernel = AdditiveAttention(n_heads=H, head_width=K).to(dtype)
    kernel = {**ALL, "capped": CAPPED}.get(name, kernel)
    tensors = inputs(dtype=dtype)
    output = kernel(*tensors, mask=masks()["any"])
    assert (output[0, :, 2] == 0).all()
    assert (output[0, :, 1] != 0).any()
    output.sum().backward()
    for tensor in tensors:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    assert (tensors[0].grad[0, :, 2] == 0).all()


def test_weights_are_a_distribution_over_what_may_be_attended_to() -> None:
    query, key, _ = inputs()
    mask = masks()["padding"]
    weights = attention_weights(query, key, mask=mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, TQ))
    assert (weights[1, ..., 3:] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_dropping_weights_keeps_their_mean(name: str) -> None:
    torch.manual_seed(7)
    query = torch.zeros(1, 1, 4096, K)
    value = torch.ones(1, 1, 32, K)
    output = ALL[name](query, torch.zeros(1, 1, 32, K), value, dropout_p=0.25)
    assert output.std() > 0.01
    assert abs(output.mean().item() - 1.0) < 0.01


def test_dropped_weights_are_the_same_for_the_same_seed() -> None:
    tensors = inputs()
    drawn = []
    for seed in (11, 11, 13):
        torch.manual_seed(seed)
        drawn.append(auto_attention(*tensors, dropout_p=0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("length", "biased", "dropout_p", "fused"),
    [
        (FUSED_FROM, False, 0.0, True),
        (FUSED_FROM - 1, False, 0.0, False),
        (FUSED_FROM, True, 0.0, False),
        (FUSED_FROM, False, 0.1, False),
    ],
)
def test_long_rows_train_by_the_fused_kernel(
    length: int, biased: bool, dropout_p: float, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    for module in (kernels, batched_attention):
        for name in {"batched_attention", "reference_attention", "sdpa_attention"} & set(
            vars(module)
        ):
            monkeypatch.setattr(module, name, lambda *_, name=name, **__: called.append(name))
    query, key = torch.zeros(1, 1, 2, K), torch.zeros(1, 1, length, K)
    bias = torch.zeros(1, 1, 2, length) if biased else None
    auto_attention(query, key, key, bias=bias, dropout_p=dropout_p)
    assert called == ["sdpa_attention" if fused else "batched_attention"]
