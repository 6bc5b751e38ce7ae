"""`heed replay`: make a faulty step of a run again, and say where its numbers went wrong."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.arguments import parse_arguments
from heed.commands.quiet import quiet_libraries
from heed.commands.summary import print_config, shown_path
from heed.commands.trained import Request, accelerator_here, check_amended, read_request
from heed.errors import EXIT_DONE, UserError
from heed.tracking.folder import TOKENIZER

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from heed.commands.assemble import Parts
    from heed.training.faults import Fault, SeenBatch
    from heed.training.replay import Replayed

USAGE = """\
usage: heed replay run=DIR [fault=NAME] [rows=5] [key=value ...]

Make a step again whose loss or gradient was not finite: the same weights, batches and random
numbers. Names the module that made such a number first, and shows the rows.

  heed replay run=DIR                              the last fault of the run
  heed replay run=DIR fault=step=000124            another one (they are in DIR/faults)
  heed replay run=DIR trainer.precision=32-true    does it come from the precision?
"""
LONGEST_TEXT = 300  # characters of a text that are shown


def main(argv: list[str]) -> int:
    """Run `heed replay` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    arguments.overrides = [quoted(word) for word in arguments.overrides]
    request = read_request("replay", arguments)
    asked, record, config, _ = request
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    if isinstance(asked["rows"], bool) or not isinstance(asked["rows"], int) or asked["rows"] < 0:
        raise UserError(f"rows must be a whole number of at least 0, but is {asked['rows']}")
    check_amended(config, arguments.config_dir)
    quiet_libraries()
    from heed.training.faults import find_fault, load_fault
    from heed.training.replay import replay

    name = asked["fault"]
    folder = find_fault(record.run_dir, None if name is None else str(name))
    fault, batches, weights = load_fault(folder)
    parts, trainer = prepare(request, weights)
    replayed = replay(parts.task, trainer, fault, batches)
    lines = [
        f"{shown_path(folder)}  {fault.sentence()}",
        f"replayed on {trainer.strategy.root_device}, {trainer.precision}",
        *result_lines(fault, replayed),
        *row_lines(parts, trainer, fault, replayed, batches, asked["rows"]),
        *next_lines(record.run_dir, fault, replayed, str(trainer.precision)),
    ]
    print("\n".join(lines))
    return EXIT_DONE


def quoted(word: str) -> str:
    """The word, with `fault=step=000124` as Hydra reads it: fault='step=000124'."""
    key, _, value = word.partition("=")
    return f"fault='{value}'" if key == "fault" and "=" in value and "'" not in value else word


def prepare(request: Request, weights: dict[str, Any]) -> tuple[Parts, pl.Trainer]:
    """The run's task with the weights before the step, and a trainer for device and precision."""
    from heed.commands.assemble import assemble
    from heed.commands.build import build

    _, record, config, _ = request
    parts = assemble(
        config,
        tokenizer_dir=record.run_dir / TOKENIZER,
        labels=record.fields["data"].get("labels"),
        warm_start=False,
        reads_data=False,
        record=record,
    )
    trainer = build(
        {
            **config["trainer"],
            "accelerator": accelerator_here(config["trainer"]["accelerator"]),
            "strategy": "auto",
            "devices": 1,
            "num_nodes": 1,
            "profiler": None,
        },
        key="trainer",
        callbacks=[],
        loggers=[],
        run_dir=record.run_dir,
    )
    try:
        parts.task.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights of the fault must fit the run's model, but do not: "
            f"{str(error).splitlines()[-1].strip()}",
            "leave model.* and task.* as the run has them",
        ) from error
    module: Any = trainer.precision_plugin.convert_module(parts.task)
    module.to(trainer.strategy.root_device)
    return parts, trainer


def result_lines(fault: Fault, replayed: Replayed) -> list[str]:
    """The numbers now and in training, and where they first went wrong."""
    lines = [
        f"loss           {replayed.loss:.6g}  (in training {fault.loss:.6g})",
        f"gradient norm  {replayed.gradient_norm:.6g}  (in training {fault.gradient_norm:.6g})",
    ]
    if replayed.bad_weights:
        lines.append(f"weights        not finite before the step: {some(replayed.bad_weights)}")
    if replayed.finding is not None:
        rank, number = replayed.found_at
        whose = [f"process {rank}"] if len(replayed.losses) > 1 else []
        whose += [f"batch {number + 1}"] if len(replayed.losses[rank]) > 1 else []
        where = f" ({', '.join(whose)})" if whose else ""
        lines.append(f"first          {replayed.finding.text}{where}")
    elif not math.isfinite(replayed.loss):
        lines.append("first          the loss itself: what every module made is finite")
    if replayed.bad_gradients:
        lines.append(f"gradients      not finite: {some(replayed.bad_gradients)}")
    if not reproduced(fault, replayed):
        lines.append("It does not come again: all numbers are finite here.")
    return lines


def reproduced(fault: Fault, replayed: Replayed) -> bool:
    """Whether what was wrong in training is wrong again."""
    if math.isfinite(fault.loss) and math.isfinite(fault.gradient_norm):
        return replayed.loss >= 0.9 * fault.loss  # a spike
    wrong = not math.isfinite(replayed.loss) or not math.isfinite(replayed.gradient_norm)
    return wrong or replayed.finding is not None


def row_lines(
    parts: Parts,
    trainer: pl.Trainer,
    fault: Fault,
    replayed: Replayed,
    batches: list[list[SeenBatch]],
    most: int,
) -> list[str]:
    """The rows of the batch that is to blame (or the one of the largest loss), worst first."""
    from heed.training.replay import row_losses

    if not most:
        return []
    rank, number = worst_batch(fault, replayed)
    seen = batches[rank][number]
    losses = row_losses(parts.task, trainer, seen.batch)
    order = sorted(range(len(losses)), key=lambda row: _rank_of(losses[row]), reverse=True)
    place = "" if seen.place is None else f", epoch {seen.place[0]}, batch {seen.place[1]} of it"
    lines = [
        "",
        f"batch {number + 1} of process {rank}{place}: {len(losses)} rows; "
        "number in the training data, loss alone and without dropout, text",
    ]
    for row in order[:most]:
        first, *others = texts(parts, seen.batch, row)
        lines.append(f"  {seen.batch.indices[row]:>8}  {losses[row]:>9.4g}  {first}")
        lines += [f"  {'':8}  {'':9}  {other}" for other in others]
    if len(order) > most:
        lines.append(f"  and {len(order) - most} more (rows={len(order)} shows all)")
    return lines


def worst_batch(fault: Fault, replayed: Replayed) -> tuple[int, int]:
    """(process, number) of the batch to look at."""
    bad = fault.bad_batches()
    if bad:
        return bad[0]
    if replayed.finding is not None:
        return replayed.found_at
    pairs = [
        (loss, rank, n) for rank, ls in enumerate(replayed.losses) for n, loss in enumerate(ls)
    ]
    _, rank, number = max(pairs, key=lambda pair: _rank_of(pair[0]))
    return rank, number


def texts(parts: Parts, batch: Any, row: int) -> list[str]:
    """What a row says, decoded from its tokens."""
    source, target = parts.tokenizers.source, parts.tokenizers.target
    tokens = getattr(batch, "source", None) or batch.tokens
    prefix = getattr(batch, "prefix", None)  # of a row that is read and written
    length = int((tokens.layout if prefix is None else prefix).lengths[row])
    found = [source.decode([tokens.ids[row, :length].tolist()])[0]]
    if prefix is not None:
        past = int(tokens.layout.lengths[row])
        found.append("-> " + target.decode([tokens.ids[row, length:past].tolist()])[0])
    if getattr(batch, "target", None) is not None:
        length = int(batch.target.layout.lengths[row])
        found.append("-> " + target.decode([batch.target.ids[row, :length].tolist()])[0])
    labels = getattr(batch, "labels", None)
    if labels is not None and parts.labels:
        found.append("-> " + parts.labels[int(labels[row])])
    starts = getattr(batch, "starts", None)
    if starts is not None:
        answer = tokens.ids[row, int(starts[row]) : int(batch.ends[row]) + 1].tolist()
        found.append("-> " + (source.decode([answer])[0] or "(no answer in this window)"))
    return [text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..." for text in found]


def next_lines(run_dir: Path, fault: Fault, replayed: Replayed, precision: str) -> list[str]:
    """What to try next."""
    run = shlex.quote(shown_path(run_dir))
    if replayed.bad_weights:
        return ["", "The weights were not finite before this step: an earlier update made them so."]
    if reproduced(fault, replayed) and precision not in ("32-true", "64-true"):
        again = f"heed replay run={run} fault={fault.folder} trainer.precision=32-true"
        return ["", "Does it come from the precision?", f"  {again}"]
    return []


def some(names: list[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _rank_of(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
