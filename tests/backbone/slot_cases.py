"""Compares the kernels of slots with their definitions.

Run in a process of its own, since Triton decides at its import whether to interpret:
`TRITON_INTERPRET=1 python slot_cases.py`.

Legend: B slots, K beams, N = B * K rows, H heads, G groups of heads, L positions of a row, S
positions of a memory, W head width, V vocabulary.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from heed.backbone.slot_cache import (
    memory_attention,
    own_attention,
    plain_memory_attention,
    plain_own_attention,
)
from heed.decoding.continuations import continuations, plain_continuations

warnings.filterwarnings("ignore", module="triton")


def split(x: Tensor, width: int) -> Tensor:
    """(..., T, H W) -> (..., H, T, W), as an attention makes them of its projections."""
    return x.unflatten(-1, (-1, width)).transpose(-3, -2)


def attention_to_own(b: int, k: int, h: int, g: int, w: int, room: int) -> None:
    query, key, value = (split(torch.randn(b * k, 1, n * w), w) for n in (h, g, g))
    keys, values = (torch.randn(b * k, g, room, w) for _ in range(2))
    positions = torch.randint(0, room, (b,))
    positions[0], positions[1] = 0, room - 1
    rows = torch.randint(0, k, (b, k, room))
    newest = positions[:, None, None].expand(b, k, 1)
    rows.scatter_(2, newest, torch.arange(k).expand(b, k)[..., None])  # lies in its own row
    kept, expected_kept = (keys.clone(), values.clone()), (keys.clone(), values.clone())
    places = {"positions": positions, "rows": rows}
    found = own_attention(query, key, value, *kept, **places)
    expected = plain_own_attention(query, key, value, *expected_kept, **places)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(kept, expected_kept)
    assert not torch.equal(kept[0], keys), "nothing was kept"


def attention_to_memory(b: int, k: int, h: int, g: int, w: int, room: int) -> None:
    query = split(torch.randn(b, k, h * w), w)  # (B, H, K, W)
    key, value = (torch.randn(b, g, room, w) for _ in range(2))
    lengths = torch.randint(0, room + 1, (b,))
    lengths[0], lengths[1] = 0, room
    found = memory_attention(query, key, value, lengths=lengths)
    expected = plain_memory_attention(query, key, value, lengths=lengths)
    torch.testing.assert_close(found, expected)
    assert found[0].abs().max() == 0.0


def likeliest_continuations(b: int, k: int, v: int) -> None:
    logits, scores = torch.randn(b * k, v) * 3, torch.randn(b, k)
    scores[0, 1:] = -torch.inf  # before the first token
    logits[:, 0] = logits[:, 2] = 20.0  # the likeliest are forbidden, or sometimes are
    rules = {"count": 2 * k, "never": [0, 1], "eos": 2, "may_end": torch.arange(b) % 2 == 0}
    found = continuations(logits.clone(), scores, **rules)
    expected = plain_continuations(logits.clone(), scores, **rules)
    real = expected.gains.isfinite()
    assert torch.equal(found.gains.isfinite(), real)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[real], other[real])


if __name__ == "__main__":
    torch.manual_seed(0)
    for sizes in ((3, 4, 4, 4, 32, 37), (2, 1, 4, 2, 16, 64), (2, 5, 6, 2, 64, 33)):
        attention_to_own(*sizes)
        attention_to_memory(*sizes)
        print(sizes, "agrees")
    for sizes in ((3, 4, 41), (2, 1, 63), (2, 5, 700), (2, 3, 9001)):
        likeliest_continuations(*sizes)
        print(sizes, "agrees")
