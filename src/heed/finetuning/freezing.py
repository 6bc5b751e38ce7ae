"""Parts of a model that are not trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from heed.errors import UserError
from heed.finetuning.layers import STACKS, Layers, parts_of, within


def layers_of(backbone: nn.Module) -> Layers:
    """The number of layers of each stack of a model, the one that reads first."""
    stacks = {name: getattr(backbone, name, None) for name in STACKS}
    return {
        name: len(stack.layers)
        for name, stack in stacks.items()
        if stack is not None and hasattr(stack, "layers")
    }


def freeze(backbone: nn.Module, words: Sequence[str]) -> int:
    """Leave parts of a model as they are: no gradient, no place in an optimizer.

    Dropout in a frozen part goes on, as in the layers above it: it is noise for those to learn by.
    A table that two parts share is frozen with either.

    Args:
        backbone: The model.
        words: The parts; see `parts_of`.

    Returns:
        The number of parameters that are frozen.

    Raises:
        UserError: If the model has no such part, or is none whose parts can be named.
    """
    if not words:
        return 0
    layers = layers_of(backbone)
    if not layers and list(words) != ["all"]:
        raise UserError(
            "finetuning.freeze can name parts of Heed's own models, but model._target_ is "
            f"{type(backbone).__name__}",
            "leave it out, or try finetuning.freeze=[all]",
        )
    parts = [part for word in words for part in parts_of(word, layers, key="finetuning.freeze")]
    for name, parameter in backbone.named_parameters(remove_duplicate=False):
        if within(name, parts):
            parameter.requires_grad_(False)
    return sum(p.numel() for p in backbone.parameters() if not p.requires_grad)


def check_something_is_trained(module: nn.Module) -> None:
    """Refuse a training of nothing.

    Raises:
        UserError: If no parameter is trained, as where all is frozen and the head shares a table.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(
            "finetuning.freeze leaves nothing to train: the head of this task shares the embedding "
            "table, which is frozen",
            "freeze less, for instance finetuning.freeze=[encoder]",
        )
