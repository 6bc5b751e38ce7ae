"""Additive attention against Bahdanau's formula, written with einsum.

Legend: B batch, H heads, Tq queries, Tk keys, K head width, D model width.
"""

from __future__ import annotations

import pytest
import torch

from heed.backbone import additive
from heed.backbone.additive import AdditiveAttention
from heed.backbone.attention import MultiHeadAttention

B, H, TQ, TK, K = 2, 3, 5, 7, 11
D = H * K


def test_a_head_scores_by_v_tanh_of_the_sum() -> None:
    torch.manual_seed(1)
    attention = AdditiveAttention(n_heads=H, head_width=K)
    query, key, value = (torch.randn(B, H, length, K) for length in (TQ, TK, TK))
    mask = torch.rand(B, 1, TQ, TK) < 0.7
    scores = torch.empty(B, H, TQ, TK)
    for q in range(TQ):
        for t in range(TK):
            hidden = torch.tanh(query[:, :, q] + key[:, :, t])
            scores[:, :, q, t] = torch.einsum("bhk,hk->bh", hidden, attention.v)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    expected = torch.einsum("bhqt,bhtk->bhqk", weights, value)
    torch.testing.assert_close(attention(query, key, value, mask=mask), expected)


def test_the_projections_of_multi_head_attention_are_w_and_u() -> None:
    """score = v . tanh(W s + U h), with W and U the query and key projections of each head."""
    torch.manual_seed(2)
    kernel = AdditiveAttention(n_heads=H, head_width=K)
    attention = MultiHeadAttention(d_model=D, n_heads=H, cross=True, kernel=kernel)
    s, h = torch.randn(B, TQ, D), torch.randn(B, TK, D)
    w, (u, values) = attention.query, attention.key_value.weight.chunk(2)
    u_bias, value_bias = attention.key_value.bias.chunk(2)
    hidden = (s @ w.weight.T + w.bias)[:, :, None] + (h @ u.T + u_bias)[:, None]  # (B, Tq, Tk, D)
    hidden = hidden.tanh().unflatten(-1, (H, K))
    weights = torch.einsum("bqthk,hk->bhqt", hidden, kernel.v).softmax(-1)
    value = (h @ values.T + value_bias).unflatten(-1, (H, K))
    gathered = torch.einsum("bhqt,bthk->bqhk", weights, value).flatten(2)
    torch.testing.assert_close(attention(s, h), attention.output(gathered), atol=1e-5, rtol=1e-5)


def test_long_rows_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    attention = AdditiveAttention(n_heads=H, head_width=K)
    results = []
    for at_once in (additive.HIDDEN_AT_ONCE, 2 * B * H * TK * K):  # all queries, two at a time
        monkeypatch.setattr(additive, "HIDDEN_AT_ONCE", at_once)
        torch.manual_seed(5)
        inputs = [torch.randn(B, H, n, K, requires_grad=True) for n in (TQ, TK, TK)]
        output = attention(*inputs)
        attention.v.grad = None
        output.square().sum().backward()
        results.append([output, attention.v.grad, *(x.grad for x in inputs)])
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole)


def test_v_learns() -> None:
    torch.manual_seed(3)
    attention = AdditiveAttention(n_heads=H, head_width=K)
    attention(*(torch.randn(B, H, TK, K) for _ in range(3))).square().sum().backward()
    assert attention.v.grad is not None
    assert (attention.v.grad != 0).all()
