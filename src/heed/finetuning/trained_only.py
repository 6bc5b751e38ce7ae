"""A model whose checkpoints hold what is trained of it alone, and not the rest."""

from __future__ import annotations

from typing import Any

from torch import nn

SAVED = "saved_names"
"""The attribute of a model with the names of the tensors that are saved."""


def save_trained_only(model: nn.Module) -> None:
    """Leave what is not trained out of `state_dict`, and do without it in `load_state_dict`.

    Who loads such a state has to put the rest there by other means.
    """
    setattr(
        model,
        SAVED,
        frozenset(
            name
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if parameter.requires_grad
        ),
    )
    model.register_state_dict_post_hook(_leave_out)
    model.register_load_state_dict_post_hook(_do_without)


def save_everything(model: nn.Module) -> None:
    """Take back `save_trained_only`."""
    setattr(model, SAVED, None)


def _leave_out(model: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    saved = getattr(model, SAVED)
    if saved is None:
        return
    for name in [name for name in state if name.startswith(prefix)]:
        if name.removeprefix(prefix) not in saved:
            del state[name]


def _do_without(model: nn.Module, incompatible: Any) -> None:
    saved = getattr(model, SAVED)
    if saved is None:
        return
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    every |= {name for name, _ in model.named_buffers()}
    others = tuple(f".{name}" for name in every - saved)
    missing = incompatible.missing_keys
    missing[:] = [name for name in missing if not f".{name}".endswith(others)]
