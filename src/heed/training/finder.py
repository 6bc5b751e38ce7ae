"""Which module first makes a number that is not finite, forward or backward."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Finding(NamedTuple):
    """Where the first non-finite number came up.

    Attributes:
        module: Dotted name of the module, "" where none can be named.
        text: One sentence for the user.
    """

    module: str
    text: str


class NonFiniteFinder:
    """Watches every module of a model; a context manager.

    Forward: a module is named whose output is not finite though its children's were. -inf in an
    output is how scores are masked, and passes. Backward: the module is named whose input is the
    first to get a gradient that is not finite.

    Every output is read, which on a GPU waits for the device: to look for a fault, not to train.

    Args:
        model: The model, whose modules are named as in its `named_modules()`.

    Attributes:
        first: The first finding since `reset`.
        watching: Whether modules are looked at.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.first: Finding | None = None
        self.watching = True
        self._handles: list[Any] = []

    def __enter__(self) -> NonFiniteFinder:
        for name, module in self.model.named_modules():
            if name:
                entering, leaving = self._entering(name), self._leaving(name)
                self._handles += [
                    module.register_forward_pre_hook(entering, with_kwargs=True),
                    module.register_forward_hook(leaving),
                ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def reset(self) -> None:
        """Forget what was found."""
        self.first = None

    def _entering(self, name: str) -> Any:
        def before(module: nn.Module, inputs: Any, named: Any) -> None:
            if self._looks():
                for tensor in tensors_in([inputs, named]):
                    self._watch_gradient(tensor, f"the input of {name} ({type(module).__name__})")

        return before

    def _leaving(self, name: str) -> Any:
        def after(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if not self._looks():
                return
            for tensor in tensors_in(outputs):
                if overflowed(tensor):
                    self.first = Finding(name, _forward_text(name, module, inputs, tensor))
                    return
                self._watch_gradient(tensor, f"the output of {name} ({type(module).__name__})")

        return after

    def _looks(self) -> bool:
        return self.watching and self.first is None

    def _watch_gradient(self, tensor: Tensor, place: str) -> None:
        """Look at a tensor's gradient; of its places the last one, the innermost reader, is told.

        A tensor is the output of one module, and then the input of others, outer before inner.
        """
        if not (tensor.requires_grad and torch.is_grad_enabled()):
            return
        places: list[str] | None = getattr(tensor, "_places", None)
        if places is not None:
            places.append(place)
            return
        places = [place]
        tensor._places = places  # type: ignore[attr-defined]

        def at_gradient(gradient: Tensor) -> None:
            if self._looks() and not bool(gradient.isfinite().all()):
                module = places[-1].split(" of ")[1].split(" ")[0]
                text = f"in backward, the gradient of {places[-1]} is {spread(gradient)}"
                self.first = Finding(module, text)

        tensor.register_hook(at_gradient)


def non_finite_parameters(model: nn.Module, *, gradients: bool = False) -> list[str]:
    """Names of the parameters whose values (or gradients) are not all finite."""
    found = []
    for name, parameter in model.named_parameters():
        tensor = parameter.grad if gradients else parameter.detach()
        if tensor is not None and not bool(tensor.isfinite().all()):
            found.append(name)
    return found


def overflowed(tensor: Tensor) -> bool:
    """Whether there is a NaN or +inf."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    return not bool((tensor < float("inf")).all())


def spread(tensor: Tensor) -> str:
    """How many numbers are NaN and infinite, and the range of the others."""
    tensor = tensor.detach()
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
    finite = tensor[tensor.isfinite()]
    parts = []
    for count, word in ((int(tensor.isnan().sum()), "nan"), (int(tensor.isinf().sum()), "inf")):
        if count:
            parts.append(f"{count:,} of {tensor.numel():,} {word}")
    if len(finite):
        others = "the others " if parts else ""
        parts.append(f"{others}{float(finite.min()):.3g} to {float(finite.max()):.3g}")
    return ", ".join(parts)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def _forward_text(name: str, module: nn.Module, inputs: Any, output: Tensor) -> str:
    text = f"{name} ({type(module).__name__}) made {spread(output)}"
    seen = [spread(tensor) for tensor in tensors_in(inputs) if tensor.is_floating_point()]
    if seen:
        text += f"; its input: {seen[0]}"
    bad = non_finite_parameters(module)
    if bad:
        text += f"; its weights are not finite: {', '.join(f'{name}.{own}' for own in bad[:3])}"
    return text
