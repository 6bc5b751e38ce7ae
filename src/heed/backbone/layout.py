"""How a batch lies in its tensors, and the one place where attention masks are made from it.

Legend: B batch, T positions (Tq of the queries, Tk of the keys).
"""

from __future__ import annotations

import torch
from torch import Tensor


class Padded:
    """A batch of rows of different lengths, padded on the right to one width.

    Args:
        lengths: (B,) real tokens of each row; at least 0, at most `width`.
        width: T, the padded length of every row.
        full: Whether every row is known to be as long as `width`, so that nothing needs masking.
            None looks at `lengths` once, which on a GPU waits for the device.
    """

    def __init__(self, lengths: Tensor, width: int, *, full: bool | None = None) -> None:
        self.lengths = lengths
        self.width = width
        self.full = bool((lengths == width).all()) if full is None else full

    @classmethod
    def unpadded(cls, rows: int, width: int, device: torch.device | str = "cpu") -> Padded:
        """The layout of `rows` rows that are all `width` long."""
        return cls(torch.full((rows,), width, device=device), width, full=True)

    def mask(self) -> Tensor:
        """(B, T) bool, True where there is a token."""
        positions = torch.arange(self.width, device=self.lengths.device)
        return positions < self.lengths[:, None]

    def positions(self) -> Tensor:
        """(T,) the position of each column in its row."""
        return torch.arange(self.width, device=self.lengths.device)

    @property
    def rows(self) -> int:
        """B."""
        return self.lengths.shape[0]

    @property
    def token_positions(self) -> int:
        """B * T: the positions that are computed, padding included."""
        return self.rows * self.width

    def real_tokens(self) -> Tensor:
        """() the tokens that are not padding, left on the device."""
        return self.lengths.sum()

    def drop_last(self) -> Padded:
        """The layout of `ids[:, :-1]` when each row loses its last token."""
        return Padded((self.lengths - 1).clamp(min=0), self.width - 1, full=self.full)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Padded:
        """The same layout with its lengths on another device."""
        return Padded(
            self.lengths.to(device, non_blocking=non_blocking), self.width, full=self.full
        )

    def pin_memory(self) -> Padded:
        """The same layout in page-locked memory."""
        return Padded(self.lengths.pin_memory(), self.width, full=self.full)


def attention_mask(
    queries: Padded,
    keys: Padded,
    *,
    causal: bool,
    offset: int = 0,
    prefix: Padded | None = None,
) -> Tensor | None:
    """Which keys a query may attend to; True means "may attend".

    Padded queries are not masked: what they compute is never read.

    Args:
        queries: Layout of the Tq queries.
        keys: Layout of the Tk keys.
        causal: Whether a query sees only keys at its own position and before.
        offset: Position of the first query among the keys (the length of a key-value cache).
        prefix: Layout of the first positions of each row, which all see each other although the
            rest is causal (Raffel et al. 2020, section 3.2.1); None: there are none.

    Returns:
        Bool, broadcastable to (B, 1, Tq, Tk); None when everything may be attended to.
    """
    mask: Tensor | None = None
    if not keys.full:
        mask = keys.mask()[:, None, None, :]  # (B, 1, 1, Tk)
    if causal and not (queries.width == 1 and offset == keys.width - 1):
        query_positions = torch.arange(queries.width, device=keys.lengths.device) + offset
        key_positions = torch.arange(keys.width, device=keys.lengths.device)
        lower = (key_positions <= query_positions[:, None])[None, None]  # (1, 1, Tq, Tk)
        if prefix is not None:
            lower = lower | (key_positions < prefix.lengths[:, None])[:, None, None]
        mask = lower if mask is None else mask & lower  # (1 or B, 1, Tq, Tk)
    return mask
