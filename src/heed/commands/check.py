"""`heed check`: is the config right, and what would it cost? Before any data are read."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

from heed.commands.arguments import parse_arguments
from heed.commands.launch import launch
from heed.commands.rules import validate

if TYPE_CHECKING:
    from torch import nn

    from heed.commands.prepared import KnownData

USAGE = """\
usage: heed check [key=value ...] [-m key=value,value ...]

Check the config of a training and say what it would cost: parameters, operations, memory, steps.
Takes the same words as heed train. Nothing is trained and no data are read; what earlier runs have
prepared is looked up.

  heed check
  heed check task=translation data=multi30k model=base trainer.max_steps=100000
"""

UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")


def main(argv: list[str]) -> int:
    """Run `heed check` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)

    def check(config: dict[str, Any]) -> None:
        validate(config, arguments.config_dir)

    return launch("train", arguments, report, check, new_runs=False)


def report(config: dict[str, Any], overrides: list[str]) -> None:
    """Print what a valid config chooses, and what it would cost."""
    from heed.commands.prepared import known_data

    known = known_data(config)
    for line in [
        *choice_lines(config),
        "",
        *cost_lines(config, known),
        "",
        "the config is right; to train it:",
        f"  {shlex.join(['heed', 'train', *overrides])}",
    ]:
        print(line)


def choice_lines(config: dict[str, Any]) -> list[str]:
    """Group by group, what is chosen."""
    lines = []
    for group, chosen in config.get("choices", {}).items():
        if group not in ("paths", "experiment", "debug"):
            name = ",".join(chosen) if isinstance(chosen, list) else chosen
            lines.append(f"{group:<12}{name or '-'}")
    return lines


def cost_lines(config: dict[str, Any], known: KnownData) -> list[str]:
    """Parameters, steps, operations and memory, as far as the config tells."""
    sizes, note = vocabulary_sizes(config, known)
    backbone, head = models(config, sizes)
    as_trained(backbone, head, config)
    every, trained = count_parameters(backbone, head), count_trained(backbone, head)
    lines = [f"parameters  {human(every)}{note}"]
    lines += [f"  {name:<22}{count:>14,}" for name, count in by_part(backbone, head)]
    if trained != every:
        lines.append(f"  {'of these trained':<22}{trained:>14,}")
    lines += step_lines(config, known)
    if not config["model"].get("d_feed_forward"):
        return lines  # a model of the user's own, whose sizes have other names
    return lines + work_lines(config, known, backbone, head, sizes[1] or sizes[0])


def vocabulary_sizes(
    config: dict[str, Any], known: KnownData
) -> tuple[tuple[int, int | None], str]:
    """Tokens of what is read, and of what is written where that differs; and how sure that is."""
    model = config["model"]
    if model.get("vocabulary_size"):
        return (model["vocabulary_size"], model.get("target_vocabulary_size")), ""
    if known.tokenizers is not None:
        target = known.tokenizers.target.vocabulary_size
        return (
            known.tokenizers.source.vocabulary_size,
            None if known.tokenizers.joint else target,
        ), ""
    tokenizer = config["tokenizer"]
    size = tokenizer.get("vocabulary_size") or 32_000
    two = tokenizer.get("joint") is False or tokenizer.get("target_name")
    return (
        (size, size if two else None),
        f" at most, with {size:,} tokens"
        if tokenizer.get("vocabulary_size")
        else f", if the tokenizer has {size:,} tokens",
    )


def models(config: dict[str, Any], sizes: tuple[int, int | None]) -> tuple[nn.Module, nn.Module]:
    """The backbone and the task's head, without memory for their weights."""
    import torch

    from heed.commands.assemble import build_backbone
    from heed.heads.label import LabelHead, pooling_for
    from heed.heads.masked import MaskedTokenHead
    from heed.heads.span import SpanHead
    from heed.heads.vocabulary import VocabularyHead

    task = config["task"]
    with torch.device("meta"):
        backbone = build_backbone(config, vocabulary_size=sizes[0], target_vocabulary_size=sizes[1])
        if task.get("validation_decoder"):
            head: nn.Module = VocabularyHead.of(backbone)
        elif task["kind"] == "texts":
            head = MaskedTokenHead.of(backbone)
        elif task["kind"] == "passages":
            head = SpanHead(d_model=backbone.d_model)
        elif task["kind"] == "labelled_text":
            labels = len(config["data"].get("labels") or ()) or 2
            pooling = pooling_for(task.get("pooling", "auto"), config["model"].get("shape", ""))
            head = LabelHead(d_model=backbone.d_model, n_labels=labels, pooling=pooling)
        else:
            head = torch.nn.Module()
    return backbone, head


def as_trained(backbone: nn.Module, head: nn.Module, config: dict[str, Any]) -> None:
    """Freeze what is not trained, and add what is trained instead."""
    import torch
    from torch import nn

    from heed.commands.fine_tune import tune

    with torch.device("meta"):
        tune(nn.ModuleDict({"backbone": backbone, "head": head}), config)


def by_part(backbone: nn.Module, head: nn.Module) -> list[tuple[str, int]]:
    """Parameters of each part; one that two parts share counts once."""
    from torch import nn

    from heed.commands.summary import parameters_by_part

    return list(parameters_by_part(nn.ModuleDict({"backbone": backbone, "head": head})))


def count_parameters(*modules: nn.Module) -> int:
    """All parameters; a shared one counts once."""
    unique = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(unique.values())


def count_trained(*modules: nn.Module) -> int:
    """Those of the parameters that are trained."""
    unique = {id(p): p.numel() for m in modules for p in m.parameters() if p.requires_grad}
    return sum(unique.values())


def step_lines(config: dict[str, Any], known: KnownData) -> list[str]:
    """Rows and optimizer steps of an epoch, and of the whole training."""
    if known.batches is None:
        rows = f"at most {known.rows:,} rows; " if known.rows else ""
        return [f"epoch       {rows}steps unknown until the data are prepared (heed train does)"]
    epoch = steps_of_epoch(config, known.batches)
    about = "" if known.exact else "about "
    lines = [f"epoch       {known.rows:,} rows, {about}{epoch:,} steps"]
    total = steps_of_training(config, epoch)
    if total is not None:
        lines.append(f"training    {about}{total:,} steps, {total / epoch:.1f} epochs")
    return lines


def steps_of_epoch(config: dict[str, Any], batches: int) -> int:
    """Optimizer steps of an epoch, after `limit_train_batches` and accumulation."""
    trainer = config["trainer"]
    limit = trainer.get("limit_train_batches")
    if isinstance(limit, float):
        batches = int(batches * limit)
    elif limit is not None:
        batches = min(batches, limit)
    if trainer.get("overfit_batches"):
        batches = max(1, int(trainer["overfit_batches"]))
    return max(1, math.ceil(batches / trainer.get("accumulate_grad_batches", 1)))


def steps_of_training(config: dict[str, Any], epoch: int) -> int | None:
    """Optimizer steps until the first bound; None if there is none but time."""
    trainer = config["trainer"]
    steps, epochs = trainer.get("max_steps", -1), trainer.get("max_epochs")
    bounds = [steps] if steps != -1 else []
    if epochs not in (None, -1):
        bounds.append(epochs * epoch)
    return min(bounds, default=None)


def work_lines(
    config: dict[str, Any], known: KnownData, backbone: nn.Module, head: nn.Module, outputs: int
) -> list[str]:
    """Operations and memory of a step."""
    from heed.commands.costs import memory_bytes, split_tokens, training_flops

    lengths = known.lengths or longest_lengths(config)
    tokens = float(config["data"].get("max_tokens") or 0)
    rows = config["data"].get("batch_size")
    if rows:
        tokens = min(tokens or math.inf, rows * sum(lengths))
    shared = split_tokens(tokens, lengths, config["model"]["shape"])
    shared.scored *= scored_share(config)
    accumulated = config["trainer"].get("accumulate_grad_batches", 1)
    flops = training_flops(config["model"], backbone, head, shared) * accumulated
    work = f"work        about {human(flops)}FLOPs a step of {human(tokens * accumulated)} tokens"
    if known.batches is not None:
        total = steps_of_training(config, steps_of_epoch(config, known.batches))
    else:
        total = config["trainer"]["max_steps"] if config["trainer"]["max_steps"] != -1 else None
    if total:
        work += f", {human(flops * total)}FLOPs in all"
    parts = memory_bytes(
        config,
        count_parameters(backbone, head),
        shared,
        outputs if of_tokens(config) else 0,
        trained=count_trained(backbone, head),
    )
    each = ", ".join(f"{name} {human(size)}B" for name, size in parts.items())
    return [
        work,
        f"memory      about {human(sum(parts.values()))}B for one process ({each})",
    ]


def of_tokens(config: dict[str, Any]) -> bool:
    """Whether the task scores a vocabulary."""
    task = config["task"]
    return bool(task.get("validation_decoder")) or task["kind"] == "texts"


def scored_share(config: dict[str, Any]) -> float:
    """The share of positions that go through the head."""
    preparation = config["task"].get("preparation") or {}
    return float(preparation.get("hidden_share", 1.0))


def longest_lengths(config: dict[str, Any]) -> tuple[float, ...]:
    """The lengths that texts are cut to, where nothing better is known."""
    preparation = config["task"].get("preparation") or {}
    names = ("max_source_length", "max_target_length", "max_length")
    found = tuple(float(preparation[name]) for name in names if preparation.get(name))
    return found or (512.0,)


def human(number: float) -> str:
    """A number with three digits and a unit: 12.3 M."""
    for unit in UNITS:
        if number < 999.5 or unit == UNITS[-1]:
            return f"{number:.3g} {unit}" if unit else f"{number:.3g} "
        number /= 1000
    raise AssertionError("the last unit returns")
