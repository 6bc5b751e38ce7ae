"""Batches as plain values and back, so that one can be kept in a file that runs nothing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from heed.backbone.layout import Padded
from heed.backbone.packed import Packed
from heed.data.batch import MaskedBatch, PairBatch, PrefixBatch, SpanBatch, TextBatch, Tokens
from heed.errors import UserError

CLASS = "class"  # the key that names what a mapping was
KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (MaskedBatch, PairBatch, PrefixBatch, SpanBatch, TextBatch, Tokens)
}


def to_plain(value: Any) -> Any:
    """A batch as mappings, lists, tensors on the CPU, strings and numbers.

    Raises:
        TypeError: If it holds something else.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Padded):
        lengths = to_plain(value.lengths)
        return {CLASS: "Padded", "lengths": lengths, "width": value.width, "full": value.full}
    if isinstance(value, Packed):
        lengths = to_plain(value.lengths)
        return {CLASS: "Packed", "lengths": lengths, "width": value.width, "longest": value.longest}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        return {CLASS: type(value).__name__, **parts}
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} has no plain form")


def from_plain(value: Any) -> Any:
    """What `to_plain` was given, of the kinds of batch that Heed has.

    Raises:
        UserError: If it was another kind.
    """
    if isinstance(value, list):
        return [from_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {key: from_plain(part) for key, part in value.items() if key != CLASS}
    if CLASS not in value:
        return parts
    if value[CLASS] == "Padded":
        return Padded(parts["lengths"], parts["width"], full=parts["full"])
    if value[CLASS] == "Packed":
        return Packed(parts["lengths"], parts["width"], parts["longest"])
    if value[CLASS] not in KINDS:
        raise UserError(f"a batch of kind {value[CLASS]} cannot be read back")
    return KINDS[value[CLASS]](**parts)


def single_row(value: Any, row: int) -> Any:
    """A batch of one of a batch's rows, as wide as it was."""
    if isinstance(value, torch.Tensor):
        return value[row : row + 1]
    if isinstance(value, Padded):
        return Padded(value.lengths[row : row + 1], value.width)
    if isinstance(value, Tokens):
        return _single_row_of(value, row)
    if isinstance(value, MaskedBatch) and isinstance(value.tokens.layout, Packed):
        return _single_masked(value, row)
    if isinstance(value, PrefixBatch) and value.places is not None:
        assert value.written is not None
        places = value.prefix.lengths[row] + torch.arange(int(value.written.lengths[row]))
        return replace(single_row(replace(value, places=None), row), places=places[None])
    if isinstance(value, list):
        return value[row : row + 1]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: single_row(getattr(value, field.name), row) for field in fields(value)}
        return type(value)(**parts)
    return value


def _single_row_of(tokens: Tokens, row: int) -> Tokens:
    layout = tokens.layout
    if not isinstance(layout, Packed):
        return Tokens(tokens.ids[row : row + 1], single_row(layout, row))
    begin, past = layout.offsets[row : row + 2].tolist()

    def own(values: torch.Tensor) -> torch.Tensor:
        return F.pad(values[:, begin:past], (0, layout.longest - (past - begin)))

    lengths = layout.lengths[row : row + 1]
    following = None if tokens.following is None else own(tokens.following)
    return Tokens(own(tokens.ids), Padded(lengths, layout.longest), following=following)


def _single_masked(batch: MaskedBatch, row: int) -> MaskedBatch:
    begin, past = batch.tokens.layout.offsets[row : row + 2].tolist()
    places = batch.places[0, : int(batch.counts)]
    own = (places >= begin) & (places < past)
    assert batch.labels is not None
    return replace(
        batch,
        tokens=_single_row_of(batch.tokens, row),
        places=places[own][None] - begin,
        counts=own.sum(0, keepdim=True),
        labels=batch.labels[0, : len(own)][own][None],
        indices=batch.indices[row : row + 1],
    )
