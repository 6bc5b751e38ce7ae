"""The likeliest tokens by blocks, against a sort of the whole vocabulary."""

from __future__ import annotations

import pytest
import torch

from heed.decoding.likeliest import LARGE, WIDTH, likeliest, likeliest_one

SIZES = [7, WIDTH * LARGE * 3, WIDTH * LARGE * 3 + 29, WIDTH * LARGE * 8 + 1]


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("size", SIZES)
def test_the_likeliest_are_those_of_a_sort(size, count):
    generator = torch.Generator().manual_seed(size + count)
    logits = torch.randn(11, size, generator=generator)
    logits[2, -1] = 9.0  # behind the last whole block
    logits[3, :count] = 8.0 + torch.arange(count)  # all in one block
    logits[4, 5:] = -torch.inf
    best, tokens = likeliest(logits, count)
    expected = logits.sort(dim=-1, descending=True).values[:, :count]
    assert torch.equal(best, expected)
    assert torch.equal(logits.gather(1, tokens), best)
    assert all(len(set(row)) == count for row in tokens.tolist())


@pytest.mark.parametrize("size", SIZES)
def test_the_likeliest_one_is_the_first_of_equals(size):
    generator = torch.Generator().manual_seed(size)
    logits = torch.randint(5, (13, size), generator=generator).float()
    logits[3] = -torch.inf
    assert torch.equal(likeliest_one(logits), logits.argmax(dim=-1))
