"""The likeliest tokens of each row, without sorting the vocabulary.

Legend: N rows, V vocabulary, W width of a block, M blocks, C tokens wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH = 64
"""Tokens of a block: their maximum is one vectorised pass, several times as fast as a top-k."""
LARGE = 4
"""A vocabulary is worth cutting up when it has this many blocks for each token that is wanted."""


def likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `logits.topk(count, dim=-1)`: (N, V) -> (N, C) logits, best first, and their tokens.

    The C best are in the C blocks with the largest maxima, so only these are searched. Of equal
    logits any may come first, as with `topk`.
    """
    blocks = logits.shape[1] // WIDTH  # M
    if blocks < LARGE * count:
        return logits.topk(count, dim=-1)
    body = logits[:, : blocks * WIDTH].unflatten(1, (blocks, WIDTH))  # (N, M, W)
    chosen = body.amax(dim=-1).topk(count, dim=-1).indices  # (N, C)
    inside = body[_numbers(logits), chosen].flatten(1)  # (N, C W)
    rest = logits[:, blocks * WIDTH :]  # (N, V - M W)
    best, places = torch.cat((inside, rest), dim=1).topk(count, dim=-1)
    of_rest = places >= count * WIDTH
    block = chosen.gather(1, (places // WIDTH).clamp(max=count - 1))
    tokens = torch.where(of_rest, places + (blocks - count) * WIDTH, block * WIDTH + places % WIDTH)
    return best, tokens


def likeliest_one(logits: Tensor) -> Tensor:
    """As `logits.argmax(dim=-1)`: (N, V) -> (N,), the first of equals."""
    blocks = logits.shape[1] // WIDTH
    if blocks < LARGE:
        return logits.argmax(dim=-1)
    body = logits[:, : blocks * WIDTH].unflatten(1, (blocks, WIDTH))  # (N, M, W)
    chosen = body.amax(dim=-1).argmax(dim=-1, keepdim=True)  # (N, 1)
    inside = body[_numbers(logits), chosen].flatten(1)  # (N, W)
    both = torch.cat((inside, logits[:, blocks * WIDTH :]), dim=1)
    place = both.argmax(dim=-1)
    return torch.where(place < WIDTH, chosen[:, 0] * WIDTH + place, place + (blocks - 1) * WIDTH)


def _numbers(rows: Tensor) -> Tensor:
    return torch.arange(rows.shape[0], device=rows.device)[:, None]
