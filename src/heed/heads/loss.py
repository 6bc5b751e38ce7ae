"""Cross entropy with label smoothing, as a sum and a count.

Sums and counts add up over accumulation steps and processes to what one large batch gives; means
do not.

Legend: N tokens (any shape), V classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


class Loss(NamedTuple):
    """A loss not yet divided: `sum` () in nats, fp32, and `count` () of what was summed."""

    sum: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which no one needs


def label_smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, *, mask: Tensor | None = None, smoothing: float = 0.0
) -> Loss:
    """-(1 - smoothing) log p(label) - smoothing * mean over V of log p (Szegedy et al. 2016,
    section 7; Vaswani et al. 2017, section 5.4), summed in fp32.

    Args:
        logits: (..., V).
        labels: (...) long.
        mask: (...) bool, True where a label counts; None: everywhere.
        smoothing: In [0, 1).

    Returns:
        The sum in nats and the number of labels that count, as fp32.
    """
    if mask is not None:
        labels = labels.masked_fill(~mask, IGNORED)
        count = mask.sum()
    else:
        count = labels.new_tensor(labels.numel())
    total = F.cross_entropy(
        logits.float().flatten(0, -2),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return Loss(total, count.float())
