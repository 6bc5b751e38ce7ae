"""A task whose model starts from weights: filled, and made ready for what `finetuning=` and
`adapter=` say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.build import build
from heed.commands.run_paths import is_checkpoint
from heed.commands.warm_start import (
    PREFIX,
    checkpoint_facts,
    load_checkpoint_of_others,
    load_head,
    run_weights,
    start_from,
)
from heed.errors import UserError
from heed.finetuning.layers import top_layers, within
from heed.tracking.folder import CHECKPOINTS

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from heed.finetuning.settings import FineTuning
    from heed.text.tokenizer import TokenizerPair
    from heed.tracking.record import RunRecord

Config = dict[str, Any]
TABLES = ("encoder.embeddings.tokens.", "decoder.embeddings.tokens.")
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


@dataclass
class Start:
    """The weights that a task starts from.

    Attributes:
        config: The frozen config.
        tokenizers: The run's tokenizers, with the tokens that were added.
        base: Where the run's record says that the base of its adapter is; None where training
            begins, and the config says it.
    """

    config: Config
    tokenizers: TokenizerPair
    base: RunRecord | None

    @classmethod
    def of(
        cls,
        config: Config,
        tokenizers: TokenizerPair,
        *,
        warm_start: bool,
        record: RunRecord | None,
    ) -> Start | None:
        """The start of a task; None where there is none, or its checkpoint holds all of it.

        Args:
            config: The frozen config.
            tokenizers: The run's tokenizers.
            warm_start: Whether training begins; else a checkpoint of the run will be loaded, which
                needs a base only where it holds an adapter.
            record: The run's record, which knows its base once training has begun.
        """
        model = config["model"]
        if not (model.get("init_from") or model.get("pretrained")):
            return None
        if warm_start:
            return cls(config, tokenizers, None)
        return cls(config, tokenizers, record) if record and needs_base(config) else None

    @property
    def sizes_before(self) -> tuple[int, int | None]:
        """Tokens of the source, and of the target where it has its own, before any were added."""
        from heed.text.added_tokens import size_before

        pair, added = self.tokenizers, added_tokens(self.config)
        target = None if pair.joint else size_before(pair.target, added)
        return size_before(pair.source, added), target

    def fill(self, task: nn.Module) -> None:
        """Give a fresh task the weights.

        Raises:
            UserError: If they are gone, or do not fit.
        """
        if self.base is not None:
            self._fill_again(task, self.base)
            return
        backbone, tuning = task.get_submodule("backbone"), fine_tuning(self.config)
        renewed = _renewed(backbone, tuning)
        fresh = {n: t.clone() for n, t in backbone.state_dict().items() if within(n, renewed)}
        run = self.config["model"].get("init_from")
        if run:  # its weights are further on than those of a checkpoint that it began with
            weights = {
                name: tensor
                for name, tensor in run_weights(run).items()
                if not within(name.removeprefix(PREFIX), renewed)  # else they count as carried over
            }
            setattr(task, "carried_over", start_from(task, run, weights=weights))  # noqa: B010
            if tuning.keep_head:
                load_head(task, run, weights)
        else:
            load_checkpoint_of_others(task, self.config["model"])
        if fresh:
            backbone.load_state_dict(fresh, strict=False)
            print("fresh nevertheless: " + ", ".join(part.rstrip(".") for part in renewed))
        self._grow(task, fills=True)

    def _fill_again(self, task: nn.Module, record: RunRecord) -> None:
        """The base of an adapter that a checkpoint holds."""
        if self.config["model"].get("init_from"):
            checkpoint = base_checkpoint(self.config, record)
            run = str(checkpoint.parents[1])
            weights = run_weights(run, checkpoint)
            start_from(task, run, weights=weights, silent=True)
        else:
            check_pretrained_base(self.config, record)
            load_checkpoint_of_others(task, self.config["model"], silent=True)
        self._grow(task, fills=False)

    def _grow(self, task: nn.Module, *, fills: bool) -> None:
        """Make room for the tokens that were added, and fill it where nobody else will."""
        from heed.finetuning.grown_embeddings import NewRows, grow_embeddings
        from heed.text.added_tokens import pieces_of

        added, pair = added_tokens(self.config), self.tokenizers
        if not added:
            return
        source, target = (
            NewRows(side.vocabulary_size, pieces_of(side, added) if fills else {})
            for side in (pair.source, pair.target)
        )
        backbone: Any = task.get_submodule("backbone")
        grow_embeddings(backbone, task.get_submodule("head"), source=source, target=target)


def added_tokens(config: Config) -> list[str]:
    """The tokens that `tokenizer.add_tokens` names."""
    return list(config["tokenizer"].get("add_tokens") or ())


def _renewed(backbone: nn.Module, tuning: FineTuning) -> list[str]:
    """The layers that start afresh."""
    from heed.finetuning.freezing import layers_of

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


def check_pretrained_base(config: Config, record: RunRecord) -> None:
    """Refuse a pretrained checkpoint that is not the one an adapter was added to.

    Raises:
        UserError: If its files have changed.
    """
    known = record.fields["lineage"].get("pretrained") or {}
    found = checkpoint_facts(config["model"])["sha256"]
    if known.get("sha256") not in (None, found):
        raise UserError(
            f"{record.run_dir} holds an adapter to {known.get('name')}, which is not what it was: "
            f"the checksum of its weights must be {known['sha256']}, but is {found}",
            "put the files back, or train the adapter again",
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
        from heed.finetuning.trained_only import save_trained_only

        also = TABLES if added_tokens(config) else ()
        add_adapter(backbone, build(config["adapter"], key="adapter"), also=also)
        for name, head in task.named_children():  # one that shares a frozen table holds nothing
            weights = list(head.parameters())
            if name != "backbone" and weights and not any(w.requires_grad for w in weights):
                save_trained_only(head)
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
