"""A task whose model starts from weights: filled, and made ready for what `finetuning=` and
`adapter=` say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.build import build
from heed.commands.run_paths import CHECKPOINTS, is_checkpoint
from heed.commands.warm_start import load_backbone, load_head, run_weights
from heed.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from heed.finetuning.settings import FineTuning
    from heed.tasks.base import Task
    from heed.tracking.record import RunRecord

Config = dict[str, Any]
PLACE = "place"
"""In a record's lineage: the way from the run folder to that of the run it started from."""


def fine_tuning(config: Config) -> FineTuning:
    """What `finetuning=` says; a run from before it was there trains everything alike."""
    from heed.finetuning.settings import FineTuning

    node = config.get("finetuning")
    found: FineTuning = build(node, key="finetuning") if node else FineTuning()
    return found


def needs_base(config: Config) -> bool:
    """Whether a run's checkpoints hold an adapter, and not the model that it was added to."""
    return bool(config.get("adapter"))


def fill(task: Task, config: Config, *, warm_start: bool, record: RunRecord | None) -> None:
    """Give a task the weights that it starts from.

    Args:
        task: A fresh task.
        config: The frozen config.
        warm_start: Whether training begins; else a checkpoint of the run will be loaded, which
            needs a base only where it holds an adapter.
        record: The run's record, which knows its base once training has begun.

    Raises:
        UserError: If the weights are gone, or do not fit.
    """
    run = config["model"].get("init_from")
    if not run or not (warm_start or (needs_base(config) and record is not None)):
        return
    if not warm_start:
        assert record is not None
        checkpoint = base_checkpoint(config, record)
        run = str(checkpoint.parents[1])
        weights = run_weights(run, checkpoint)
        load_backbone(task.get_submodule("backbone"), run, weights=weights, silent=True)
        return
    tuning = fine_tuning(config)
    weights = run_weights(run)
    backbone = task.get_submodule("backbone")
    load_backbone(backbone, run, weights=weights, renewed=_renewed(backbone, tuning))
    if tuning.keep_head:
        load_head(task, run, weights)


def _renewed(backbone: nn.Module, tuning: FineTuning) -> list[str]:
    """The layers that start afresh."""
    from heed.finetuning.freezing import layers_of
    from heed.finetuning.layers import top_layers

    if not tuning.reinitialize_layers:
        return []
    key = "finetuning.reinitialize_layers"
    return top_layers(tuning.reinitialize_layers, layers_of(backbone), key=key)


def base_checkpoint(config: Config, record: RunRecord) -> Path:
    """The checkpoint that a run's adapter was added to, where it lies now.

    Looked for where `model.init_from` says, and where it lay beside the run folder.

    Raises:
        UserError: If it is gone, or is not what it was.
    """
    from heed.training.checksum import written_checksum

    known = record.fields["lineage"].get("init_from") or {}
    name, place = str(known.get("checkpoint")), known.get(PLACE)
    runs = [Path(str(config["model"]["init_from"])).expanduser()]
    runs += [record.run_dir / str(place)] if place else []
    there = [run / CHECKPOINTS / name for run in runs if is_checkpoint(run / CHECKPOINTS / name)]
    remedy = "put it back, or say where it is now: model.init_from=DIR"
    for path in there:
        if not path.is_file() or written_checksum(path) == known.get("sha256"):
            return path
    if there:
        raise UserError(
            f"{record.run_dir} holds an adapter to {there[0]}, which is not what it was: its "
            f"checksum must be {known.get('sha256')}, but is {written_checksum(there[0])}",
            remedy,
        )
    raise UserError(
        f"{record.run_dir} holds an adapter to {runs[0] / CHECKPOINTS / name}, which is gone",
        remedy,
    )


def place_of(run: str, run_dir: Path) -> str:
    """The way from a run folder to another, so that both can be moved together."""
    return os.path.relpath(os.path.realpath(run), os.path.realpath(run_dir))


def tune(task: nn.Module, config: Config) -> None:
    """Freeze what is not to be trained of a task's backbone, and add what is trained instead.

    Raises:
        UserError: If that names parts that the model has not, or leaves nothing to train.
    """
    from heed.finetuning.freezing import check_something_is_trained, freeze

    backbone = task.get_submodule("backbone")
    words = fine_tuning(config).frozen_parts
    if needs_base(config):
        from heed.finetuning.adapters import add_adapter

        add_adapter(backbone, build(config["adapter"], key="adapter"))
    if words:
        freeze(backbone, words)
        check_something_is_trained(task)


def with_rates(make: Callable[..., Optimizer], config: Config) -> Callable[..., Optimizer]:
    """What makes the optimizer, with a rate for each layer where they are to differ."""
    tuning = fine_tuning(config)
    if not tuning.rates_differ:
        return make

    def make_with_rates(module: nn.Module) -> Optimizer:
        from heed.finetuning.layer_rates import set_layer_rates

        optimizer = make(module)
        set_layer_rates(
            optimizer, module, layer_decay=tuning.layer_decay, head_rate=tuning.head_rate
        )
        return optimizer

    return make_with_rates
