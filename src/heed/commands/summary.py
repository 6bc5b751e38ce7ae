"""What a run says before its first step and after its last: what it is, what came of it."""

from __future__ import annotations

import datetime
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.files import readable_bytes
from heed.tracking.folder import CHECKPOINTS

if TYPE_CHECKING:
    from torch import nn

    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord

SHOWN_GROUPS = (
    *("task", "data", "tokenizer", "model", "adapter"),
    *("optimizer", "scheduler", "trainer", "logger"),
)


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
    console.print(tree, soft_wrap=True)
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
    trained = sum(p.numel() for p in parts.task.parameters() if p.requires_grad)
    if trained != record.fields["parameters"]:
        table.add_row("of these trained", f"{trained:,}")
    console.print(table)
    console.print(f"run folder  {shown_path(record.run_dir)}\n", soft_wrap=True)


def closing_summary(record: RunRecord, parts: Parts) -> None:
    """Print the scores, where everything is, and what to type next."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    fields = record.fields
    run = shown_path(record.run_dir)
    seconds = sum(fields["phases"].values())
    took = datetime.timedelta(seconds=round(seconds))
    speed = fields.get("throughput", {}).get("tokens_per_second")
    ended = "Pruned" if fields["status"] == "pruned" else "Done"
    console.print(
        f"\n[bold green]{ended}[/bold green] in {took}"
        + (f", {speed:,.0f} tokens a second in training" if speed else "")
    )
    for stage, title in (("train/", "training"), ("val/", "best validation"), ("test/", "test")):
        scores = {k: v for k, v in fields["metrics"].items() if k.startswith(stage)}
        if scores:
            console.print(f"  {title:<16}{score_line(scores, stage)}")
    for name, signature in fields.get("signatures", {}).items():
        console.print(f"  [dim]{name} signature  {signature}[/dim]")
    kept = fields.get("checkpoints")
    if kept and kept["count"]:
        size = readable_bytes(kept["bytes"])
        files = "1 file" if kept["count"] == 1 else f"{kept['count']} files"
        console.print(f"  {'checkpoints':<16}{files}, {size}")
    console.print(f"  {'run folder':<16}{run}", markup=False)
    profile = record.run_dir / "profile"
    for report in (*sorted(profile.glob("fit-*.txt")), *profile.glob("trace.json.gz")):
        console.print(f"  {'profile':<16}{shown_path(report)}", markup=False)
    if (profile / "fit-steps.txt").exists():
        text = (profile / "fit-steps.txt").read_text(encoding="utf-8")
        console.print(f"\n{text.rstrip()}", markup=False, highlight=False, soft_wrap=True)
    commands = list(next_commands(record, parts))
    if commands:
        console.print("\nNext:\n" + "\n".join(f"  {line}" for line in commands), markup=False)


def next_commands(record: RunRecord, parts: Parts) -> Iterator[str]:
    """Commands that work as they stand, in the folder where this process runs."""
    run = shlex.quote(shown_path(record.run_dir))
    if any((record.run_dir / CHECKPOINTS).glob("*.ckpt")):
        example = example_input(parts)
        if example:
            yield f"echo {shlex.quote(example)} | heed predict run={run}"
        else:
            yield f"heed predict run={run} input=FILE output=FILE"
        yield f"heed evaluate run={run} split=validation"
    if (record.run_dir / "tensorboard").is_dir():
        yield f"tensorboard --logdir {shlex.quote(shown_path(record.run_dir.parent))}"


def example_input(parts: Parts, *, most: int = 400) -> str:
    """A line that the run can predict from, out of its own data; empty where they are too long."""
    records = parts.datamodule.records("validation")
    for number in range(min(len(records), 20)):
        record = parts.task.example_input(records[number])
        fields = [name for name in ("source", "text", "question", "context") if record.get(name)]
        texts = {name: record[name] for name in fields}
        alone = len(texts) == 1 and "\n" not in next(iter(texts.values()))
        line = next(iter(texts.values())) if alone else json.dumps(texts, ensure_ascii=False)
        if len(line) <= most:
            return line
    return ""


def print_config(config: dict[str, Any]) -> None:
    """Print a config as YAML."""
    import yaml

    print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")


def score_line(scores: dict[str, Any], stage: str) -> str:
    """Scores of one stage on one line, the loss last."""
    shown = {k: v for k, v in scores.items() if not k.endswith(("learning_rate", "gradient_norm"))}
    ordered = sorted(shown.items(), key=lambda item: item[0].endswith(("/loss", "/perplexity")))
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
    if facts.get("streamed"):
        return "streamed"
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
    return (", ".join(map(str, chosen)) or "none") if isinstance(chosen, list) else str(chosen)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1 else f"{float(value):.2f}"


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)
