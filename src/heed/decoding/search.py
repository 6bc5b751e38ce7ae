"""How a search and a model take turns, one batch alone or several in one step.

A decoder says which tokens come next; the model says how likely they are. Rows that have ended
leave the step, and a step of few rows costs nearly as much as one of many. So where there are more
batches to write, the next one joins when half of the rows have gone (continuous batching; Yu et al.
2022, section 4, call it iteration-level scheduling).

Legend: N rows of a step, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from heed.decoding.step import Hypothesis, JoiningStep, Step

REFILL_SHARE = 0.5
"""The next batch joins when no more rows are open than this share of the largest batch's."""


class Search(Protocol):
    """The outputs of one batch while they are written.

    Attributes:
        tokens: (N,) the newest token of each of its rows; none when it has ended.
    """

    tokens: Tensor

    def advance(self, logits: Tensor) -> Tensor | None:
        """Choose the next tokens, and say which rows they follow.

        Args:
            logits: (N, V) of what comes after `tokens`, which may be written into.

        Returns:
            (N',) the row that each new row goes on from; None: each from itself.
        """
        ...

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Of each sentence, once the search has ended."""
        ...


def complete(step: Step, search: Search) -> list[list[Hypothesis]]:
    """Write one batch to its end."""
    while len(search.tokens):
        _turn(step, [search])
    return search.hypotheses()


def stream(batches: Iterable[tuple[JoiningStep, Search]]) -> Iterator[list[list[Hypothesis]]]:
    """Write batches, the next one while the rest of those before it are still being written.

    Args:
        batches: A step and a search each, both at their beginning, made when there is room.

    Yields:
        The hypotheses of each batch, in the order of the batches; as if it had been alone.
    """
    coming = iter(batches)
    open_searches: list[Search] = []
    in_order: deque[Search] = deque()
    joint: JoiningStep | None = None
    most, ended = 0, False
    while not ended or open_searches:
        if not ended and sum(len(one.tokens) for one in open_searches) <= REFILL_SHARE * most:
            step, search = next(coming, (None, None))
            if step is None or search is None:
                ended = True
            else:
                in_order.append(search)
                if len(search.tokens):
                    _turn(step, [search])  # alone, while it has one row a sentence
                if len(search.tokens):
                    most = max(most, len(search.tokens))
                    if open_searches and joint is not None:
                        joint.join(step)
                    else:
                        joint = step
                    open_searches.append(search)
        if open_searches and joint is not None:
            _turn(joint, open_searches)
            open_searches = [one for one in open_searches if len(one.tokens)]
        while in_order and not len(in_order[0].tokens):
            yield in_order.popleft().hypotheses()


@torch.no_grad()
def _turn(step: Step, searches: list[Search]) -> None:
    """One token for every open row."""
    counts = [len(search.tokens) for search in searches]
    logits = step(torch.cat([search.tokens for search in searches])).float()  # (N, V)
    kept = [one.advance(part) for one, part in zip(searches, logits.split(counts), strict=True)]
    if not any(len(search.tokens) for search in searches):
        return  # nothing goes on
    if all(rows is None for rows in kept):
        return
    parts, before = [], 0
    for rows, count in zip(kept, counts, strict=True):
        own = torch.arange(count, device=logits.device) if rows is None else rows
        parts.append(own + before)
        before += count
    step.reorder(torch.cat(parts))
