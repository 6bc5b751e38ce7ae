"""Attention with a backward pass of its own against the definition.

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.batched_attention import batched_attention
from heed.backbone.kernels import Kernel, reference_attention

B, H, G, TQ, TK, K = 3, 4, 2, 5, 7, 11


def outcome(
    kernel: Kernel, keys: int = TK, groups: int = H, dtype: torch.dtype = torch.float32, **how: Any
) -> list[Tensor]:
    """The output and the gradients of query, key and value."""
    torch.manual_seed(1)
    shapes = [(B, TQ, H, K), *(2 * [(B, keys, groups, K)])]
    given = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    output = kernel(*(x.transpose(1, 2) for x in given), **how)
    torch.manual_seed(2)
    (output * torch.randn(output.shape).to(dtype)).sum().backward()
    return [output.detach(), *(x.grad for x in given if x.grad is not None)]


LENGTHS = (torch.arange(TK) < torch.tensor([[TK], [3], [0]]))[:, None, None]  # (B, 1, 1, Tk)
SQUARE = torch.arange(TQ) < torch.arange(1, TQ + 1)[:, None]  # (Tq, Tq), all but causal
PAIRS = torch.rand(B, 1, TQ, TK, generator=torch.Generator().manual_seed(3)) < 0.4


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"mask": LENGTHS},
        {"mask": PAIRS, "groups": G},
        {"causal": True, "keys": TQ},
        {"causal": True, "keys": TQ, "mask": LENGTHS[..., :TQ], "groups": G},
        {"mask": SQUARE, "keys": TQ},
        {"mask": LENGTHS, "bias": torch.ones(1, H, TQ, TK)},
    ],
)
def test_outputs_and_gradients_are_those_of_the_definition(how: dict[str, Any]) -> None:
    results = [outcome(kernel, **how) for kernel in (reference_attention, batched_attention)]
    assert len(results[0]) == 4
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_gradients_are_slopes() -> None:
    torch.manual_seed(4)
    given = [torch.randn(2, 2, n, 3, dtype=torch.float64).requires_grad_() for n in (3, 4, 4)]
    mask = torch.tensor([[True, True, False, True]])
    torch.autograd.gradcheck(lambda *x: batched_attention(*x, mask=mask), given)


def test_half_precision_is_as_near_as_the_definition_in_it() -> None:
    exact = outcome(reference_attention, mask=LENGTHS)
    errors = []
    for kernel in (reference_attention, batched_attention):
        found = outcome(kernel, dtype=torch.bfloat16, mask=LENGTHS)
        assert {x.dtype for x in found} == {torch.bfloat16}
        errors.append([float((a - b).square().mean()) for a, b in zip(found, exact, strict=True)])
    for theirs, ours in zip(*errors, strict=True):
        assert ours < 3 * theirs  # of squares; queries are rounded once more


def test_autocast_types_are_those_of_the_definition() -> None:
    x = torch.randn(B, H, TQ, K)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (f(x, x, x.bfloat16()) for f in (batched_attention, reference_attention))
    assert found.dtype == expected.dtype == torch.bfloat16


def test_dropped_weights_are_those_of_the_definition() -> None:
    """Both draw the same bytes."""
    results = []
    for kernel in (reference_attention, batched_attention):
        torch.manual_seed(5)
        given = [torch.randn(B, H, n, K).requires_grad_() for n in (TQ, TK, TK)]
        output = kernel(*given, mask=PAIRS, dropout_p=0.3)
        torch.manual_seed(6)
        gradients = torch.autograd.grad(output, given, torch.randn(output.shape))
        results.append([output.detach(), *gradients])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_little_is_kept_for_the_backward_pass() -> None:
    """One tensor of (B, H, Tq, Tk) alone."""
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    given = [torch.randn(B, H, TQ, K).requires_grad_() for _ in range(3)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        batched_attention(*given, causal=True)
    assert sum(x.shape[-1] == TQ for x in kept) == 1
