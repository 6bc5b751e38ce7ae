"""Layouts and the masks made from them."""

from __future__ import annotations

import torch

from heed.backbone.layout import Padded, attention_mask


def test_a_padded_batch_knows_its_tokens() -> None:
    layout = Padded(torch.tensor([3, 5, 0]), 5)
    assert layout.mask().tolist() == [[True] * 3 + [False] * 2, [True] * 5, [False] * 5]
    assert layout.positions().tolist() == [0, 1, 2, 3, 4]
    assert (layout.rows, layout.token_positions, int(layout.real_tokens())) == (3, 15, 8)
    assert layout.drop_last().lengths.tolist() == [2, 4, 0]
    assert layout.drop_last().width == 4
    assert not layout.full
    assert Padded.unpadded(2, 3).full


def test_nothing_is_masked_when_every_row_is_full() -> None:
    full = Padded.unpadded(2, 5)
    assert attention_mask(full, full, causal=False) is None


def test_padding_and_future_are_masked() -> None:
    layout = Padded(torch.tensor([2, 3]), 3)
    mask = attention_mask(layout, layout, causal=True)
    assert mask is not None
    assert mask.shape == (2, 1, 3, 3)
    assert mask[0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert mask[1, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_a_cached_step_sees_all_that_came_before() -> None:
    step, keys = Padded.unpadded(2, 1), Padded.unpadded(2, 5)
    assert attention_mask(step, keys, causal=True, offset=4) is None
    two = attention_mask(Padded.unpadded(2, 2), keys, causal=True, offset=3)
    assert two is not None
    assert two[0, 0].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
