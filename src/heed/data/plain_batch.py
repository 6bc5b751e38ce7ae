"""Batches as plain values and back, so that one can be kept in a file that runs nothing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from heed.backbone.layout import Padded
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
        return Tokens(single_row(value.ids, row), single_row(value.layout, row))
    if isinstance(value, list):
        return value[row : row + 1]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: single_row(getattr(value, field.name), row) for field in fields(value)}
        return type(value)(**parts)
    return value
