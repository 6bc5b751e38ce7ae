"""Dropout that is cheap on a CPU (Srivastava et al. 2014, section 4).

On a CPU, torch draws one serial Bernoulli number for every element, which costs more than the
matrix product before it. Here one 64-bit draw gives eight elements one random byte each, and an
element is dropped when its byte is below `256 p`. The draws come from torch's own generator, so
`torch.manual_seed` decides them. The scale is exact for the rounded probability, which differs from
`p` by less than 0.002.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 256  # values of a byte


def cheap_level(p: float, device: torch.device) -> int:
    """How many of the 256 byte values are dropped; 0 where torch's own dropout must be
    used: on other devices, and where it is compiled."""
    level = round(p * LEVELS)
    cheap = device.type == "cpu" and not torch.compiler.is_compiling()
    return level if cheap and 0 < level < LEVELS else 0


def random_bytes(shape: torch.Size) -> Tensor:
    """Bytes drawn evenly from 0..255 by torch's CPU generator, in the given shape."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64)
    words.random_(torch.iinfo(torch.int64).min, None)
    return words.view(torch.uint8)[:count].view(shape)


def keep_mask(like: Tensor, level: int) -> Tensor:
    """A tensor of `like`'s shape and type: 0 where dropped, 1 / (1 - level / 256) where kept."""
    kept = torch.empty(like.shape, dtype=like.dtype)
    torch.ge(random_bytes(like.shape), level, out=kept)  # compares and converts in one pass
    return kept.mul_(LEVELS / (LEVELS - level))


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """`F.dropout`, with cheap random numbers on a CPU.

    Args:
        x: Any shape.
        p: Probability that an element becomes 0; the others are divided by 1 - p.
        training: False returns `x` as it is.
    """
    if not training or p == 0.0:
        return x
    level = cheap_level(p, x.device)
    if level == 0:
        return F.dropout(x, p, training=True)
    return x * keep_mask(x, level)


def add_dropout(x: Tensor, y: Tensor, p: float, *, training: bool) -> Tensor:
    """`x + dropout(y)`, the residual connection, in one pass over the memory where that helps."""
    if not training or p == 0.0:
        return x + y
    level = cheap_level(p, y.device)
    if level == 0 or x.dtype != y.dtype:
        return x + dropout(y, p, training=True)
    return torch.addcmul(x, y, keep_mask(y, level))


class Dropout(nn.Module):
    """Sets each element to 0 with probability `p` while training and scales up the others.

    Args:
        p: Probability of dropping; 0 does nothing.
    """

    def __init__(self, *, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, training=self.training)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """`x + self(y)`."""
        return add_dropout(x, y, self.p, training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
