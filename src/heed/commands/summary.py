"""What a run says before its first step and after its last: what it is, what came of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord

SHOWN_GROUPS = ("task", "data", "tokenizer", "model", "optimizer", "scheduler", "trainer", "logger")


def opening_summary(config: dict[str, Any], parts: Parts, record: RunRecord) -> None:
    """Print what was chosen, the data in numbers, and the parameters by part."""
    from rich.console import Console
    from rich.table import Table
    from rich.tree import Tree

    console = Console(highlight=False)
    tree = Tree(f"[bold]{config['task']['name']}[/bold]  seed {config['seed']}")
    for group in SHOWN_GROUPS:
        chosen = config.get("choices", {}).get(group)
        if chosen is not None:
            tree.add(f"{group} = [cyan]{_words(chosen)}[/cyan]{_key_values(config, group)}")
    console.print(tree)
    data = record.fields["data"]
    for split in ("train", "validation"):
        facts = data.get(split)
        if facts:
            console.print(f"{split:<10}  {_data_line(facts)}")
    table = Table("part", "parameters", box=None, pad_edge=False, header_style="dim")
    table.columns[1].justify = "right"
    for name, count in parameters_by_part(parts.task):
        table.add_row(name, f"{count:,}")
    table.add_row("[bold]all[/bold]", f"[bold]{record.fields['parameters']:,}[/bold]")
    console.print(table)
    console.print(f"run folder  {record.run_dir}\n")


def closing_summary(record: RunRecord) -> None:
    """Print the scores, where everything is, and what to type next."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    fields = record.fields
    run = record.run_dir
    seconds = sum(fields["phases"].values())
    took = datetime.timedelta(seconds=round(seconds))
    speed = fields.get("throughput", {}).get("tokens_per_second")
    console.print(
        f"\n[bold green]Done[/bold green] in {took}"
        + (f", {speed:,.0f} tokens a second in training" if speed else "")
    )
    for stage, title in (("val/", "best validation"), ("test/", "test")):
        scores = {k: v for k, v in fields["metrics"].items() if k.startswith(stage)}
        if scores:
            console.print(f"  {title:<16}{score_line(scores, stage)}")
    for name, signature in fields.get("signatures", {}).items():
        console.print(f"  [dim]{name} signature  {signature}[/dim]")
    console.print(f"  {'run folder':<16}{run}")
    console.print("\nNext:")
    console.print(f"  heed predict run={run} input=FILE output=-")
    console.print(f"  heed evaluate run={run} split=validation")
    if (run / "tensorboard").is_dir():
        console.print(f"  tensorboard --logdir {run.parent}")


def score_line(scores: dict[str, Any], stage: str) -> str:
    """Scores of one stage on one line, the loss last."""
    ordered = sorted(scores.items(), key=lambda item: item[0].endswith(("/loss", "/perplexity")))
    return "  ".join(f"{name.removeprefix(stage)} {_number(value)}" for name, value in ordered)


def parameters_by_part(module: nn.Module) -> Iterable[tuple[str, int]]:
    """Trainable parts one or two levels down with their parameters; a shared one counts once."""
    seen: set[int] = set()
    for name, child in module.named_children():
        grandchildren = list(child.named_children()) if name == "backbone" else []
        for part, owner in [(f"{name}.{n}", c) for n, c in grandchildren] or [(name, child)]:
            count = 0
            for parameter in owner.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    count += parameter.numel()
            if count:
                yield part, count


def _key_values(config: dict[str, Any], group: str) -> str:
    shown = {
        "model": ("d_model", "n_layers", "n_heads"),
        "optimizer": ("lr",),
        "tokenizer": ("vocabulary_size",),
        "data": ("path", "max_tokens", "batch_size"),
        "trainer": ("max_epochs", "max_steps", "max_time", "precision"),
    }.get(group, ())
    node = config.get(group) or {}
    pairs = [f"{key} {node[key]}" for key in shown if node.get(key) not in (None, -1)]
    return f"  [dim]{', '.join(pairs)}[/dim]" if pairs else ""


def _data_line(facts: dict[str, Any]) -> str:
    line = f"{facts.get('records', facts.get('rows', 0)):,} examples"
    tokens = sum(facts.get("tokens", {}).values())
    line += f", {tokens:,} tokens"
    if facts.get("batches"):
        line += f", {facts['batches']:,} batches, {facts['padding_share']:.1%} padding"
    dropped = sum(reason["count"] for reason in facts.get("dropped", {}).values())
    if dropped:
        reasons = "; ".join(f"{r['count']:,} {why}" for why, r in facts["dropped"].items())
        line += f"\n            left out {dropped:,} invalid rows: {reasons}"
    if facts.get("cut_rows"):
        line += f"\n            cut {facts['cut_rows']:,} examples to the maximum length"
    return line


def _words(chosen: Any) -> str:
    return ", ".join(map(str, chosen)) if isinstance(chosen, list) else str(chosen)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1 else f"{float(value):.2f}"


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    absolute = path.resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(path)
