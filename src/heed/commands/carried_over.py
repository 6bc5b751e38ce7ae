"""What a model takes over from the weights it starts from, and what it does not, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heed.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

OF_A_MODEL = ("backbone.", "head.")


@dataclass(frozen=True)
class CarriedOver:
    """The tensors of a model that starts from another's, by name.

    Attributes:
        start: What it starts from, for messages.
        task: The task that this was trained for.
        carried: Names of the model's tensors that have the other's numbers.
        fresh: Names of its other tensors.
        left_out: Names of the other's tensors that it has no place for.
    """

    start: str
    task: str
    carried: tuple[str, ...]
    fresh: tuple[str, ...]
    left_out: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report, a few lines."""
        count = len(self.carried) + len(self.fresh)
        yield f"started from {self.start} ({self.task}): {len(self.carried)} of {count} tensors"
        carried, fresh = _by_part(self.carried), _by_part(self.fresh)
        whole = [part for part in carried if part not in fresh]
        told = {"carried over": ", ".join(whole)}
        told["in part"] = ", ".join(
            f"{part} ({len(names)} of {len(names) + len(fresh[part])} tensors; "
            f"fresh: {_inner(fresh[part])})"
            for part, names in carried.items()
            if part in fresh
        )
        told["fresh"] = ", ".join(part for part in fresh if part not in carried)
        told["left out"] = ", ".join(
            f"{part} of {self.task}" if part == "head" else part for part in _by_part(self.left_out)
        )
        yield from (f"  {how:<14}{parts}" for how, parts in told.items() if parts)

    def record(self) -> dict[str, dict[str, int]]:
        """How many tensors of each part were carried over, are fresh and were left out."""
        found = {"carried_over": self.carried, "fresh": self.fresh, "left_out": self.left_out}
        return {
            how: {part: len(of_part) for part, of_part in _by_part(names).items()}
            for how, names in found.items()
        }


def carry_over(
    task: nn.Module, weights: Mapping[str, Tensor], *, start: str, of_task: str
) -> CarriedOver:
    """Copy what fits of a run's weights into a fresh task: its backbone, and a head of tokens.

    A head that labels texts or finds spans stays fresh. A table that several parts share is copied
    once, for all of them.

    Args:
        task: The task to fill.
        weights: The tensors of the other's checkpoint by name.
        start: Where they come from, for messages.
        of_task: The task they were trained for.

    Raises:
        UserError: If a tensor of the backbone has another shape there, or nothing fits.
    """
    import torch

    own = {
        name: tensor
        for name, tensor in task.state_dict(keep_vars=True).items()
        if name.startswith(OF_A_MODEL)
    }
    told_tokens = _tells_tokens(getattr(task, "head", None))
    carried: list[str] = []
    for names in _names_of_each(own):
        tensor = own[names[0]]
        for name in names:
            if name not in weights or (name.startswith("head.") and not told_tokens):
                continue
            if weights[name].shape == tensor.shape:
                with torch.no_grad():
                    tensor.copy_(weights[name])
                carried += names
                break
            if name.startswith("backbone."):
                raise _other_shape(start, name, weights[name], tensor)
    if not any(name.startswith("backbone.") for name in carried):
        raise UserError(f"model.init_from={start} has no tensor of this model", "give another run")
    return CarriedOver(
        start=start,
        task=of_task,
        carried=tuple(name for name in own if name in carried),
        fresh=tuple(name for name in own if name not in carried),
        left_out=tuple(
            name for name in weights if name.startswith(OF_A_MODEL) and name not in carried
        ),
    )


def _names_of_each(own: Mapping[str, Tensor]) -> Iterable[list[str]]:
    """The names of each tensor: several where parts share it."""
    names: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names.setdefault(id(tensor), []).append(name)
    return names.values()


def _tells_tokens(head: Any) -> bool:
    from heed.heads.masked import MaskedTokenHead
    from heed.heads.vocabulary import VocabularyHead

    return isinstance(head, (MaskedTokenHead, VocabularyHead))


def _other_shape(start: str, name: str, theirs: Tensor, ours: Tensor) -> UserError:
    return UserError(
        f"model.init_from={start} must have a model of the same size, but its "
        f"{name.removeprefix('backbone.')} is {tuple(theirs.shape)} and here {tuple(ours.shape)}",
        "use the run's model= and tokenizer=file tokenizer.path=RUN/tokenizer",
    )


def _by_part(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by part: "encoder embeddings", "encoder layers", "encoder norm", "head"."""
    parts: dict[str, list[str]] = {}
    for name in names:
        words = name.split(".")
        part = "head" if words[0] == "head" else " ".join(words[1:3])
        parts.setdefault(part, []).append(name)
    return parts


def _inner(names: Iterable[str]) -> str:
    """The modules inside a part that tensors belong to, such as "cross_attention"."""
    found: dict[str, None] = {}
    for name in names:
        words = name.split(".")
        inner = words[1:] if words[0] == "head" else words[3:]
        found[next((word for word in inner if not word.isdecimal()), words[-1])] = None
    return ", ".join(found)
