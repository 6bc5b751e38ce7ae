"""Small trained additions to a model that stays as it is, by the `peft` library: `adapter=`.

They are put into the layers of a model in place, so that the tasks know nothing of them. A
checkpoint then holds them alone, and not the model that they were added to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import nn

from heed.errors import UserError
from heed.finetuning.freezing import layers_of
from heed.finetuning.layers import parts_of, within
from heed.finetuning.targets import targeted
from heed.finetuning.trained_only import SAVED, save_everything, save_trained_only

TARGETS = "adapter.targets"


class Adapter(Protocol):
    """What can be added to a model."""

    targets: Sequence[str] | str
    train: Sequence[str]

    def settings(self, names: list[str]) -> Any:
        """The config of `peft` that adds this to the layers of these names."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank additions to weights: W + (alpha / r) B A (Hu et al. 2022, section 4.1).

    Args:
        r: The rank of B A.
        alpha: What it is multiplied by, over r.
        dropout: Of dropping an element of what goes into A.
        targets: Layers; see `targeted`.
        train: Parts of the model that are trained in full besides; words as in `finetuning.freeze`.
        rank_stabilized: alpha / sqrt(r) in place of alpha / r (Kalajdzievski 2023).
        decomposed: The length of each row of the weight is trained by itself, and its direction by
            low rank (DoRA: Liu et al. 2024).
    """

    r: int
    alpha: float
    dropout: float
    targets: Sequence[str] | str
    train: Sequence[str] = ()
    rank_stabilized: bool = False
    decomposed: bool = False

    def settings(self, names: list[str]) -> Any:
        """See `Adapter`."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # any number does
            lora_dropout=self.dropout,
            target_modules=names,
            use_rslora=self.rank_stabilized,
            use_dora=self.decomposed,
        )


@dataclass(frozen=True, kw_only=True)
class IA3:
    """Factors of activations (Liu et al. 2022, section 3.3): of what a layer gives, or, for the
    output of a feed-forward network, of what goes into it.

    Args:
        targets: Layers; see `targeted`.
        train: Parts of the model that are trained in full besides.
    """

    targets: Sequence[str] | str
    train: Sequence[str] = ()

    def settings(self, names: list[str]) -> Any:
        """See `Adapter`."""
        from peft import IA3Config

        inner = [name for name in names if name.endswith("feed_forward.output")]
        return IA3Config(target_modules=names, feedforward_modules=inner)


def add_adapter(backbone: nn.Module, adapter: Adapter, *, also: Sequence[str] = ()) -> None:
    """Add an adapter to a model in place, and freeze everything else of it.

    Args:
        backbone: The model, with the weights that stay as they are.
        adapter: What is added, and to which layers.
        also: Further beginnings of names of parameters that are trained in full.

    Raises:
        UserError: If `peft` is not installed, or no layer is meant.
    """
    check_installed()
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    chosen = targeted(adapter.targets, names, key=TARGETS)
    layers = layers_of(backbone)
    parts = [part for word in adapter.train for part in parts_of(word, layers, key="adapter.train")]
    from peft import inject_adapter_in_model

    inject_adapter_in_model(adapter.settings(chosen), backbone)
    for name, parameter in backbone.named_parameters(remove_duplicate=False):
        if within(name, [*parts, *also]):
            parameter.requires_grad_(True)
    save_trained_only(backbone)


@torch.no_grad()
def merge_adapters(module: nn.Module) -> int:
    """Work adapters into the weights they were added to, in place; what they compute stays.

    Args:
        module: A model or a task; one without adapters stays as it is.

    Returns:
        The number of layers that had one.
    """
    merged = 0
    for owner in list(module.modules()):
        for name, child in list(owner.named_children()):
            layer: Any = child
            if hasattr(layer, "get_base_layer") and hasattr(layer, "merge"):
                layer.merge()
                setattr(owner, name, layer.get_base_layer())
                merged += 1
        if hasattr(owner, SAVED):
            save_everything(owner)
    return merged


def check_installed() -> None:
    """Refuse to go on without `peft`.

    Raises:
        UserError: If it is not installed.
    """
    if find_spec("peft") is None:
        raise UserError(
            "adapter needs the package peft, which is not installed",
            "pip install 'heed-nlp[peft]', or leave adapter= out",
        )
