"""Spans: nothing outside the passage can be chosen."""

from __future__ import annotations

import torch

from heed.heads.span import SpanHead


def test_positions_outside_the_passage_are_impossible() -> None:
    torch.manual_seed(1)
    hidden = torch.randn(2, 5, 7, requires_grad=True)
    allowed = torch.tensor([[True, False, True, True, False], [True, False, False, True, True]])
    head = SpanHead(d_model=7)
    logits = head(hidden, allowed)
    for column, scores in enumerate(logits):
        assert (scores[~allowed] == float("-inf")).all()
        expected = hidden @ head.output.weight[column] + head.output.bias[column]
        torch.testing.assert_close(scores[allowed], expected[allowed])
    torch.nn.functional.cross_entropy(logits.start, torch.tensor([2, 3])).backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
