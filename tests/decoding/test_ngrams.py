"""Blocking of repeated n-grams against counting them."""

from __future__ import annotations

import pytest
import torch

from heed.decoding.ngrams import forbid_repeated_ngrams


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 11])
def test_exactly_the_tokens_that_would_repeat_are_forbidden(toy, size, length):
    rows, vocabulary = 13, 5
    generator = torch.Generator().manual_seed(size * 17 + length)
    written = torch.randint(0, vocabulary, (rows, length), generator=generator)
    logits = torch.randn(rows, vocabulary, generator=generator)
    blocked = logits.clone()
    forbid_repeated_ngrams(blocked, written, size)
    for row in range(rows):
        tokens = written[row].tolist()
        seen = {tuple(tokens[i : i + size]) for i in range(length - size + 1)}
        for token in range(vocabulary):
            newest = tuple([*tokens, token][-size:])
            if length >= size - 1 and newest in seen:
                assert blocked[row, token] == -torch.inf
            else:
                assert blocked[row, token] == logits[row, token]
