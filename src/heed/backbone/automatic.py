"""Windowed attention by the kernel that measured fastest (docs/results.md, "Long inputs").

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from heed.backbone.flex import DEVICES, FlexAttention
from heed.backbone.flex_validation import NARROWEST_HEAD
from heed.backbone.kernels import Kernel

FLEX_FROM = 512
"""Queries of a row from which on flex attention is taken; fewer take as long either way."""
FLEX_DTYPES = (torch.bfloat16, torch.float16)
"""What flex attention computes fast; in fp32 it takes several times as long as chunks."""


class AutomaticAttention:
    """Flex attention where it is faster, or else another kernel; a `Kernel`.

    It is faster in half precision on a GPU, for long rows. If it cannot be compiled there, a
    warning says so, and the other kernel computes the same from then on.

    Args:
        flex: The one.
        otherwise: The other.
    """

    def __init__(self, *, flex: FlexAttention, otherwise: Kernel) -> None:
        self.flex = flex
        self.otherwise = otherwise

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """See `heed.backbone.kernels.Kernel`."""
        plain = bias is None and dropout_p == 0.0 and (mask is None or mask.shape[-2] == 1)
        if plain and not _failed and faster(query, key):
            try:
                return self.flex(query, key, value, mask=mask, causal=causal)
            except _compiler_faults() as failure:
                _failed.append(str(failure))
                warnings.warn(
                    "flex attention cannot be compiled here, so windows are computed in chunks, "
                    f"more slowly: {str(failure)[:300]}",
                    stacklevel=2,
                )
        return self.otherwise(
            query, key, value, mask=mask, bias=bias, causal=causal, dropout_p=dropout_p
        )


_failed: list[str] = []
"""Why this process does without."""


def _compiler_faults() -> type[Exception]:
    from torch._dynamo.exc import TorchDynamoException  # slow to import, and seldom needed

    return TorchDynamoException


def faster(query: Tensor, key: Tensor) -> bool:
    """Whether flex attention is, for queries and keys of one text."""
    return (
        query.device.type in DEVICES
        and query.dtype in FLEX_DTYPES
        and query.shape[3] >= NARROWEST_HEAD
        and query.shape[2] == key.shape[2] >= FLEX_FROM
    )
