"""Tables of embeddings with rows for tokens that were added to a vocabulary.

Legend: V tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from heed.backbone.transformer import Transformer
from heed.heads.vocabulary import VocabularyHead


@dataclass(frozen=True)
class NewRows:
    """The rows that a table has afterwards.

    Attributes:
        rows: How many; a table that has as many is not made smaller.
        pieces: Row -> rows whose mean it begins with; without any, the mean of all old rows.
    """

    rows: int
    pieces: Mapping[int, Sequence[int]] = field(default_factory=dict)


def with_new_rows(table: Tensor, new: NewRows) -> Tensor:
    """A table with further rows, its own unchanged.

    A new token begins as the mean of the tokens that it was written in before: what the model knows
    of it already. Where there are none, as the mean of all, which leaves the scores of the old
    tokens nearly as they were (Hewitt 2021).

    Args:
        table: (V, D), or (V,) a bias.
        new: The rows.
    """
    before = table.shape[0]
    grown = table.new_empty((max(before, new.rows), *table.shape[1:]))
    grown[:before] = table
    grown[before:] = table.mean(0)
    for row, pieces in new.pieces.items():
        grown[row] = table[list(pieces)].mean(0) if pieces else table.mean(0)
    return grown


@torch.no_grad()
def grow_embeddings(
    backbone: Transformer, head: nn.Module, *, source: NewRows, target: NewRows
) -> None:
    """Give the tables of a model, and of a head that scores tokens, further rows, in place.

    Tables that are shared stay shared.

    Args:
        backbone: The model.
        head: The head of its task, of any kind.
        source: The rows of what is read.
        target: The rows of what is written; the same where both sides have one vocabulary.
    """
    grown: dict[int, nn.Parameter] = {}
    for owner, name, side in _tables(backbone, head):
        table = owner.get_parameter(name)
        if id(table) not in grown:
            rows = with_new_rows(table, target if side == "target" else source)
            grown[id(table)] = nn.Parameter(rows, requires_grad=table.requires_grad)
        setattr(owner, name, grown[id(table)])
        if name == "weight":
            size = "num_embeddings" if isinstance(owner, nn.Embedding) else "out_features"
            setattr(owner, size, grown[id(table)].shape[0])
    backbone.vocabulary_size = max(backbone.vocabulary_size, source.rows)
    backbone.target_vocabulary_size = max(backbone.target_vocabulary_size, target.rows)


def _tables(backbone: Transformer, head: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(module, name of its parameter, "source" or "target") of every table; each module once."""
    seen: set[int] = set()
    two_sided = backbone.encoder is not None and backbone.decoder is not None
    for stack, side in ((backbone.encoder, "source"), (backbone.decoder, "target")):
        if stack is None:
            continue
        tokens = stack.embeddings.tokens
        if id(tokens) not in seen:
            yield tokens, "weight", side if two_sided else "source"
        seen.add(id(tokens))
    for part in head.modules():  # that of hidden tokens has a vocabulary's inside
        if isinstance(part, VocabularyHead):
            yield part.output, "weight", "target"
            if part.output.bias is not None:
                yield part.output, "bias", "target"
