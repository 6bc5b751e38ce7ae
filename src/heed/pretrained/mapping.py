"""How a tensor of ours is made of tensors of theirs, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Change:
    """What is done to a tensor of theirs to make it ours; the same matrix otherwise.

    Attributes:
        transposed: Theirs is (inputs, outputs), as in GPT-2's Conv1D.
        skipped_rows: Rows at the head of their table that no position of ours needs.
        factor: Ours is theirs times this.
        plus: Ours is theirs (times the factor) plus this, as with norms that are stored less one.
        flattened: Theirs is a table of one row, ours is that row.
    """

    transposed: bool = False
    skipped_rows: int = 0
    factor: float = 1.0
    plus: float = 0.0
    flattened: bool = False

    def shape(self, theirs: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a tensor of theirs has with us."""
        if self.flattened:
            return theirs[1:] if theirs[:1] == (1,) else theirs
        shape = theirs[::-1] if self.transposed else theirs
        return (shape[0] - self.skipped_rows, *shape[1:]) if self.skipped_rows else shape

    def read(self, theirs: Tensor) -> Tensor:
        """Theirs as ours."""
        if self.flattened:
            return theirs[0]
        ours = theirs.T if self.transposed else theirs
        ours = ours[self.skipped_rows :]
        if self.factor != 1.0 or self.plus:
            ours = ours.float() * self.factor + self.plus
        return ours

    def write(self, ours: Tensor) -> Tensor:
        """Ours as theirs; skipped rows come back as zeros."""
        import torch

        theirs = ours
        if self.flattened:
            return ours[None]
        if self.factor != 1.0 or self.plus:
            theirs = ((theirs.float() - self.plus) / self.factor).to(ours.dtype)
        if self.skipped_rows:
            lost = torch.zeros(self.skipped_rows, *theirs.shape[1:], dtype=theirs.dtype)
            theirs = torch.cat((lost, theirs))
        return theirs.T.contiguous() if self.transposed else theirs


SAME = Change()


@dataclass(frozen=True)
class Part:
    """A tensor of theirs that is some rows of one of ours.

    Attributes:
        name: Its name, without the prefix of its family.
        change: What is done to it.
        rows: How many rows of ours it is; None: all, where it is the only part.
        also: Other names that it may go by, being tied to others: one of all is enough.
    """

    name: str
    change: Change = SAME
    rows: int | None = None
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All that it may go by, its own first."""
        return (self.name, *self.also)


@dataclass(frozen=True)
class Entry:
    """A tensor of ours and the tensors of theirs that it is made of, one below the other.

    Attributes:
        ours: Its name in the module.
        parts: From the first rows to the last.
        optional: Whether it may be missing in a checkpoint, and stays as it is then.
    """

    ours: str
    parts: tuple[Part, ...]
    optional: bool = False

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Ours from theirs."""
        import torch

        read = [part.change.read(tensors[part.name]) for part in self.parts]
        return read[0] if len(read) == 1 else torch.cat(read)

    def write(self, ours: Tensor) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of theirs, from ours."""
        rows = [ours.shape[0] if part.rows is None else part.rows for part in self.parts]
        for part, piece in zip(self.parts, ours.split(rows), strict=True):
            yield part.name, part.change.write(piece)


def tensor(
    ours: str,
    theirs: str,
    change: Change = SAME,
    *,
    optional: bool = False,
    also: tuple[str, ...] = (),
) -> Entry:
    """One tensor of ours that is one of theirs."""
    return Entry(ours, (Part(theirs, change, also=also),), optional)


def linear(
    ours: str, *theirs: str, rows: tuple[int, ...] = (), bias: bool = True, transposed: bool = False
) -> Iterator[Entry]:
    """Weight and bias of a layer of ours, made of one or several of theirs.

    Args:
        ours: Its name, for instance "encoder.layers.0.self_attention.qkv".
        theirs: Theirs, in the order of our rows.
        rows: How many rows each has, where there are several.
        bias: Whether they have one.
        transposed: Whether their matrices are (inputs, outputs).
    """
    counts: tuple[int | None, ...] = rows or (None,)
    change = Change(transposed=transposed)
    for kind in ("weight", "bias") if bias else ("weight",):
        of_kind = change if kind == "weight" else SAME
        yield Entry(
            f"{ours}.{kind}",
            tuple(
                Part(f"{name}.{kind}", of_kind, count)
                for name, count in zip(theirs, counts, strict=True)
            ),
        )


def norm(ours: str, theirs: str, *, bias: bool = True, plus: float = 0.0) -> Iterator[Entry]:
    """Weight and bias of a norm."""
    yield tensor(f"{ours}.weight", f"{theirs}.weight", Change(plus=plus))
    if bias:
        yield tensor(f"{ours}.bias", f"{theirs}.bias")


def cast(found: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of its own, in the dtype of the model."""
    return found.detach().to(dtype=dtype, copy=True).contiguous()
