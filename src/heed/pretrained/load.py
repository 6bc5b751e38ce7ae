"""A checkpoint's tensors into a backbone and its head; every tensor is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from heed.errors import UserError, raise_together
from heed.heads.label import LabelHead
from heed.heads.masked import MaskedTokenHead
from heed.heads.span import SpanHead
from heed.heads.vocabulary import VocabularyHead
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.family import Family
from heed.pretrained.mapping import Entry, Part, cast

SHOWN = 5  # names in a message
OLD_NAMES = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}


@dataclass
class Report:
    """What became of every tensor.

    Attributes:
        loaded: Names of ours that the checkpoint filled.
        fresh: Names of ours that it has not, and that keep their first weights.
        left_out: Names of theirs that were not asked for.
        parameters: Numbers that were read.
    """

    loaded: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    parameters: int = 0

    def sentence(self) -> str:
        """For people: how much was read, what is fresh, what was left out."""
        parts = [f"{self.parameters:,} numbers in {len(self.loaded)} tensors"]
        if self.fresh:
            parts.append(f"fresh: {some(self.fresh)}")
        if self.left_out:
            parts.append(f"left out: {some(self.left_out)}")
        return "; ".join(parts)


def load_pretrained(
    checkpoint: Checkpoint,
    family: Family,
    values: Mapping[str, Any],
    backbone: nn.Module,
    head: nn.Module | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Report:
    """Fill a backbone, and its head where the checkpoint has the same one.

    Args:
        checkpoint: Where the tensors are.
        family: Its family.
        values: Arguments of the Transformer; a part of the checkpoint's layers is enough.
        backbone: What is filled; in place.
        head: What is filled too if the checkpoint has a head of its kind and shape.
        labels: Of a label head, which is filled only by one with the same labels in this order.

    Returns:
        What became of every tensor of either side.

    Raises:
        UserError: If a tensor that is needed is missing or misshapen, or there is one that the
            family does not know. All of them are named, and nothing is changed.
    """
    names = {_plain(name, family): name for name in checkpoint.names()}
    report = Report()
    entries = list(family.entries(values))
    plan = _Plan(checkpoint, names)
    faults = plan.add(entries, backbone)
    whole = family.entries(family.values(checkpoint.config))
    known = {name for entry in whole for part in entry.parts for name in part.names}
    strange = [name for name in names if name not in known and family.needs(name)]
    if strange:
        faults.append(
            UserError(
                f"model.pretrained={checkpoint.name} must hold what a {family.name} is made of, "
                f"but holds {len(strange)} more: {some(strange)}",
                "its outputs would be others without them; is its model_type right?",
            )
        )
    raise_together(faults)
    if head is not None:
        report.fresh = plan.add_head(family, values, head, labels)
    report.loaded, report.parameters = plan.carry_out()
    report.left_out = sorted(set(names) - plan.used)
    return report


class _Plan:
    """Which tensors go where; nothing is changed before all of it is known to work."""

    def __init__(self, checkpoint: Checkpoint, names: Mapping[str, str]) -> None:
        self.checkpoint = checkpoint
        self.names = names
        self.steps: list[tuple[Entry, torch.Tensor]] = []
        self.used: set[str] = set()

    def add(self, entries: Iterable[Entry], module: nn.Module) -> list[UserError]:
        """Fill a module; returns what is missing or misshapen."""
        own = module.state_dict(keep_vars=True)
        missing, misshapen, parted = [], [], []
        filled = set()
        for entry in entries:
            filled.add(entry.ours)
            absent = [part.name for part in entry.parts if self._found(part) is None]
            if absent:
                if not entry.optional:
                    missing += absent
                continue
            assert entry.ours in own, f"the family names {entry.ours}, which the model has not"
            wrong = self._misfit(entry, tuple(own[entry.ours].shape))
            if wrong:
                misshapen.append(wrong)
            else:
                parted += self._parted(entry)
            self._take(entry, own[entry.ours])
        pointers = {own[name].data_ptr() for name in filled if name in own}
        forgotten = [n for n, t in own.items() if n not in filled and t.data_ptr() not in pointers]
        assert not forgotten, f"no tensor of the family fills {forgotten}"
        name = self.checkpoint.name
        faults = []
        if missing:
            faults.append(
                UserError(
                    f"model.pretrained={name} must hold all tensors of its model, but lacks "
                    f"{len(missing)}: {some(missing)}",
                    "it may be cut short or of another family: fetch or save it again",
                )
            )
        if misshapen:
            faults.append(
                UserError(
                    f"model.pretrained={name} must have tensors of the sizes in its config.json, "
                    f"but {len(misshapen)} are not: {some(misshapen)}"
                )
            )
        if parted:
            faults.append(
                UserError(
                    f"model.pretrained={name} must have one and the same tensor under names that "
                    f"its config.json ties together, but has several: {some(parted)}",
                    "untie them in its config.json, if its model has them apart",
                )
            )
        return faults

    def add_head(
        self, family: Family, values: Mapping[str, Any], head: nn.Module, labels: Any
    ) -> list[str]:
        """Fill a head as far as it can be; returns the names that stay fresh."""
        own = head.state_dict(keep_vars=True)
        theirs = family.heads.get(kind_of(head))
        taken = {tensor.data_ptr() for _, tensor in self.steps}  # tied to the backbone
        fresh = [name for name, tensor in own.items() if tensor.data_ptr() not in taken]
        for entry in theirs.entries(values) if theirs is not None else ():
            if entry.ours not in own or any(self._found(part) is None for part in entry.parts):
                continue
            if self._misfit(entry, tuple(own[entry.ours].shape)):
                continue
            if entry.ours.startswith("output.") and not self._same_labels(labels):
                continue
            self._take(entry, own[entry.ours])
            fresh = [name for name in fresh if name != entry.ours]
        return [f"head.{name}" for name in fresh]

    def _same_labels(self, labels: Sequence[str] | None) -> bool:
        names = self.checkpoint.config.get("id2label") or {}
        return labels is None or names == {str(n): label for n, label in enumerate(labels)}

    def _take(self, entry: Entry, tensor: torch.Tensor) -> None:
        self.steps.append((entry, tensor))
        self.used.update(name for part in entry.parts for name in part.names)

    def _found(self, part: Part) -> str | None:
        """The name in the checkpoint of a tensor of theirs; None if it is not there."""
        return next((self.names[name] for name in part.names if name in self.names), None)

    def _name(self, part: Part) -> str:
        found = self._found(part)
        assert found is not None, f"{part.name} was not asked for"
        return found

    def _parted(self, entry: Entry) -> list[str]:
        """The names of tensors that should be one and are not."""
        parted = []
        for part in entry.parts:
            first, *others = [self.names[name] for name in part.names if name in self.names]
            for other in others:
                same = self.checkpoint.shape(first) == self.checkpoint.shape(other)
                one, two = self.checkpoint.tensor(first), self.checkpoint.tensor(other)
                if not same or not torch.equal(one, two):
                    parted.append(f"{first} and {other}")
        return parted

    def _misfit(self, entry: Entry, ours: tuple[int, ...]) -> str:
        """What is wrong with the shapes of an entry; empty if nothing is."""
        rows = 0
        for part in entry.parts:
            theirs = self.checkpoint.shape(self._name(part))
            shape = part.change.shape(theirs)
            if len(shape) != len(ours) or shape[1:] != ours[1:]:
                return f"{part.name} is {theirs}"
            if part.rows not in (None, shape[0]):
                return f"{part.name} is {theirs}"
            rows += shape[0]
        if rows != ours[0]:
            first = entry.parts[0]
            return f"{first.name} is {self.checkpoint.shape(self._name(first))}"
        return ""

    def carry_out(self) -> tuple[list[str], int]:
        """Read and copy; returns the names of ours, and how many numbers they are."""
        count = 0
        with torch.no_grad():
            for entry, own in self.steps:
                theirs = {
                    part.name: self.checkpoint.tensor(self._name(part)) for part in entry.parts
                }
                own.copy_(cast(entry.read(theirs), own.dtype))
                count += own.numel()
        return [entry.ours for entry, _ in self.steps], count


def kind_of(head: nn.Module) -> str:
    """What families call a head of ours; "" for one that none has."""
    kinds: dict[type[nn.Module], str] = {
        LabelHead: "label",
        SpanHead: "span",
        MaskedTokenHead: "masked",
        VocabularyHead: "vocabulary",
    }
    return kinds.get(type(head), "")


def _plain(name: str, family: Family) -> str:
    """A name of theirs without its family's prefix, and as newer versions spell it."""
    name = family.plain_name(name)
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
