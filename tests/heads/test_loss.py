"""Label-smoothed cross entropy against its definition, as sums that add up.

Legend: B batch, T positions, V classes.
"""

from __future__ import annotations

import pytest
import torch

from heed.heads.loss import label_smoothed_cross_entropy

B, T, V = 3, 5, 7


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_the_definition(smoothing: float, masked: bool) -> None:
    torch.manual_seed(1)
    logits = torch.randn(B, T, V, requires_grad=True)
    labels = torch.randint(V, (B, T))
    mask = torch.rand(B, T) < 0.6 if masked else torch.ones(B, T, dtype=torch.bool)
    log_p = logits.log_softmax(-1)
    expected = logits.new_zeros(())
    for b in range(B):
        for t in range(T):
            if mask[b, t]:
                own = log_p[b, t, labels[b, t]]
                expected = expected - (1 - smoothing) * own - smoothing * log_p[b, t].mean()
    (wanted,) = torch.autograd.grad(expected, logits, retain_graph=True)
    loss = label_smoothed_cross_entropy(
        logits, labels, mask=mask if masked else None, smoothing=smoothing
    )
    (found,) = torch.autograd.grad(loss.sum, logits)
    torch.testing.assert_close(loss.sum, expected)
    torch.testing.assert_close(found, wanted)
    assert loss.count.item() == mask.sum().item()


def test_parts_add_up_to_the_whole() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(B, T, V), torch.randint(V, (B, T))
    whole = label_smoothed_cross_entropy(logits, labels, smoothing=0.2)
    parts = [
        label_smoothed_cross_entropy(logits[i : i + 1], labels[i : i + 1], smoothing=0.2)
        for i in range(B)
    ]
    torch.testing.assert_close(sum(part.sum for part in parts), whole.sum)
    assert sum(part.count for part in parts) == whole.count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_half_precision_logits_are_summed_in_fp32(smoothing: float) -> None:
    """4096 equal losses of ln V: bf16 would have stopped counting at 256 times their size."""
    logits = torch.zeros(4096, V, dtype=torch.bfloat16)
    loss = label_smoothed_cross_entropy(logits, torch.zeros(4096).long(), smoothing=smoothing)
    assert loss.sum.dtype == torch.float32
    torch.testing.assert_close(loss.sum / loss.count, torch.tensor(float(V)).log())


def test_nothing_to_count_is_zero_not_nan() -> None:
    logits = torch.randn(2, V, requires_grad=True)
    loss = label_smoothed_cross_entropy(
        logits, torch.zeros(2).long(), mask=torch.zeros(2, dtype=torch.bool), smoothing=0.1
    )
    loss.sum.backward()
    assert (loss.sum.item(), loss.count.item()) == (0.0, 0.0)
    assert logits.grad is not None
    assert (logits.grad == 0).all()
