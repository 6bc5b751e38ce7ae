"""Blocking repeated n-grams (Paulus et al. 2018, section 2.5).

Legend: N rows, V vocabulary, T tokens written so far, W n-grams in them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forbid_repeated_ngrams(logits: Tensor, written: Tensor, size: int) -> None:
    """Set to -inf, in place, every token that would write an n-gram a second time in its row.

    Args:
        logits: (N, V).
        written: (N, T) the tokens of each row so far, without the beginning of sentence.
        size: n, at least 1.
    """
    length = written.shape[1]
    if length < size:
        return
    ngrams = written.unfold(1, size, 1)  # (N, T) -> (N, W, n)
    newest = written[:, length - size + 1 :]  # (N, n - 1)
    begun_again = (ngrams[:, :, :-1] == newest[:, None, :]).all(dim=-1)  # (N, W)
    # Added rather than set: a token may end one n-gram that has begun again and one that has not.
    penalty = torch.zeros_like(begun_again, dtype=logits.dtype)
    penalty.masked_fill_(begun_again, -torch.inf)
    logits.scatter_add_(1, ngrams[:, :, -1], penalty)
