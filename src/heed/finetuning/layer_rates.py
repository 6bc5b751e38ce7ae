"""Learning rates that fall from the head to the embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from heed.errors import UserError
from heed.finetuning.freezing import layers_of
from heed.finetuning.layers import depth_of

BACKBONE = "backbone."


def set_layer_rates(
    optimizer: Optimizer, module: nn.Module, *, layer_decay: float, head_rate: float
) -> None:
    """Give every layer a learning rate of its own.

    Layer by layer from the head down the rate is multiplied by `layer_decay` (Howard and Ruder
    2018, section 3.2; Clark et al. 2020, appendix A). Each optimizer group is divided into one
    group a rate, the highest first; a schedule scales them all.

    Args:
        optimizer: An optimizer that has made no step, over the parameters of `module`.
        module: A task: its `backbone` has layers, everything else is its head.
        layer_decay: The rate of a layer divided by that of the one above it.
        head_rate: The head's rate divided by the optimizer's.

    Raises:
        UserError: If the backbone has no layers that are known.
    """
    assert not optimizer.state, "rates are set before the first step"
    factors = rate_factors(module, layer_decay=layer_decay, head_rate=head_rate)
    groups = [part for group in optimizer.param_groups for part in _by_rate(group, factors)]
    groups.sort(key=lambda group: -group["lr"])  # stable: groups of one rate keep their order
    optimizer.param_groups[:] = groups


def rate_factors(module: nn.Module, *, layer_decay: float, head_rate: float) -> dict[int, float]:
    """What the peak rate is multiplied by for each parameter, by its `id`.

    A table that is shared by a deep part and a shallow one learns as the shallow one.
    """
    names = list(module.named_parameters(remove_duplicate=False))
    backbone = getattr(module, "backbone", None)
    layers = layers_of(backbone) if isinstance(backbone, nn.Module) else {}
    if not layers and layer_decay != 1.0:
        raise UserError(
            "finetuning.layer_decay needs a model whose layers are known, but this one has no "
            "encoder or decoder with layers",
            "leave finetuning.layer_decay at 1.0",
        )
    head = sum(layers.values()) + 1
    depths: dict[int, int] = {}
    for name, parameter in names:
        depth = head
        if name.startswith(BACKBONE):
            depth = depth_of(name.removeprefix(BACKBONE), layers)
        depths[id(parameter)] = min(depth, depths.get(id(parameter), head))
    return {
        parameter: head_rate if depth == head else layer_decay ** (head - depth)
        for parameter, depth in depths.items()
    }


def _by_rate(group: dict[str, Any], factors: dict[int, float]) -> Iterable[dict[str, Any]]:
    rates: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        rates.setdefault(group["lr"] * factors.get(id(parameter), 1.0), []).append(parameter)
    for rate, parameters in rates.items():
        yield {**group, "params": parameters, "lr": rate}
