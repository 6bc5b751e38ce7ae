"""Scores of language models: sums over texts."""

from __future__ import annotations

import math

import pytest

from heed.metrics.tokens import TokenScore


def test_accuracy_is_over_tokens_and_bits_over_bytes() -> None:
    score = TokenScore(of_bytes=True)
    score.update([3, 1], [2, 0], [-math.log(8), -math.log(2)], ["abc", "é"])
    score.update([4], [1], [-math.log(16)], ["abcd"])
    found = {name: float(value) for name, value in score.compute().items()}
    assert found["token_accuracy"] == pytest.approx(100 * 3 / 8)
    assert found["bits_per_byte"] == pytest.approx((3 + 1 + 4) / (3 + 2 + 4), abs=1e-6)


def test_parts_add_up_and_nothing_scores_nothing() -> None:
    one, other, both = (TokenScore(of_bytes=True) for _ in range(3))
    for score in (one, both):
        score.update([3], [2], [-1.23456], ["abc"])
    for score in (other, both):
        score.update([5], [1], [-2.34567], ["a longer one"])
    for name in ("tokens", "right", "nats", "bytes"):
        assert int(getattr(one, name) + getattr(other, name)) == int(getattr(both, name))
    assert float(TokenScore(of_bytes=True).compute()["bits_per_byte"]) == 0.0


def test_where_not_all_of_a_text_is_told_there_are_no_bits() -> None:
    assert set(TokenScore(of_bytes=False).compute()) == {"token_accuracy"}
