"""The likeliest ways in which the beams of each sentence go on.

Legend: B sentences, K beams, N = B * K rows, V vocabulary, C continuations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from heed.backbone.triton_kernels import runs_triton
from heed.decoding.likeliest import likeliest

MOST = 32
"""Continuations up to which the kernels are used: they look for one after the other."""
MOST_NEVER = 2
"""Tokens that the kernels can leave out: padding and the beginning of sentence."""


class Continuations(NamedTuple):
    """Of each sentence, likeliest first.

    Attributes:
        gains: (B, C) log probability of everything written, this token included; -inf: none.
        parents: (B, C) the beam that goes on.
        tokens: (B, C) how.
    """

    gains: Tensor
    parents: Tensor
    tokens: Tensor


def continuations(
    logits: Tensor, scores: Tensor, *, count: int, never: list[int], eos: int, may_end: Tensor
) -> Continuations:
    """The likeliest continuations, by the kernels of `continuation_kernels.py` where they run.

    Args:
        logits: (N, V), which may be written into.
        scores: (B, K) log probability of what each beam has written.
        count: C, at most V.
        never: Tokens that are never written. Probabilities are over all tokens nevertheless.
        eos: The end of sentence.
        may_end: (B,) bool, whether a sentence may write it.
    """
    fits = count <= MOST and len(never) <= MOST_NEVER
    if fits and logits.is_contiguous() and runs_triton(logits.device.type):
        from heed.decoding.continuation_kernels import fused_continuations  # needs Triton

        return fused_continuations(
            logits, scores, count=count, never=never, eos=eos, may_end=may_end
        )
    return plain_continuations(logits, scores, count=count, never=never, eos=eos, may_end=may_end)


def plain_continuations(
    logits: Tensor, scores: Tensor, *, count: int, never: list[int], eos: int, may_end: Tensor
) -> Continuations:
    """The definition; see `continuations`."""
    sentences, beams = scores.shape
    logits = logits.float()
    normaliser = logits.logsumexp(dim=-1, keepdim=True)  # (N, 1)
    for token in never:
        logits[:, token] = -torch.inf
    ends = logits[:, eos].view(sentences, beams)
    ends.masked_fill_(~may_end[:, None], -torch.inf)
    # C of each row are enough: the best C of a sentence cannot hold more of any one beam.
    best, tokens = likeliest(logits, count)  # (N, C)
    gains = (best - normaliser + scores.view(-1, 1)).view(sentences, -1)  # (B, K C)
    gains, chosen = gains.topk(count, dim=-1)
    return Continuations(gains, chosen // count, tokens.view(sentences, -1).gather(1, chosen))
