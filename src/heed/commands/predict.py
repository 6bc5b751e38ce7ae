"""`heed predict`: read texts, write what a run's model makes of them, in flat memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from heed.commands.arguments import parse_arguments
from heed.commands.out_of_memory import memory_watched, quoted
from heed.commands.prediction_files import open_output, read_inputs
from heed.commands.quiet import quiet_libraries
from heed.commands.summary import print_config
from heed.commands.trained import (
    LEARNED,
    accelerator_here,
    check_amended,
    load_parts,
    read_request,
)
from heed.errors import EXIT_DONE

USAGE = """\
usage: heed predict run=DIR [input=FILE|-] [output=FILE|-] [format=txt|csv|jsonl] [key=value ...]

Read inputs, one a line or row, and write a prediction for each, in their order. An empty line has
the prediction "", so that line N of the output always belongs to line N of the input.

  heed predict run=DIR input=texts.txt output=out.txt      a text a line
  heed predict run=DIR input=table.csv output=out.jsonl    by column names
  echo "A man sleeps." | heed predict run=DIR              from and to the terminal
  heed predict run=DIR input=FILE decoding=greedy          another way of decoding
"""
EMPTY: dict[str, Any] = {"prediction": ""}
UNUSED = (*LEARNED, "data", "logger.", "callbacks.", "optimizer", "scheduler")


def main(argv: list[str]) -> int:
    """Run `heed predict` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    asked, record, config, _ = read_request("predict", arguments)
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    check_amended(config, arguments.config_dir, unused=UNUSED)
    source, target = str(asked["input"]), str(asked["output"])
    inputs = read_inputs(source, asked["input_format"], config)
    with open_output(target, asked["format"], overwrite=asked["overwrite"], read=source) as write:
        if source == "-" and sys.stdin.isatty():
            print("Type inputs, one a line; Ctrl-D ends.", file=sys.stderr)
        quiet_libraries()
        import lightning.pytorch as pl

        pl.seed_everything(config["seed"], workers=True, verbose=False)  # sampling repeats itself
        parts, _ = load_parts(record, config, asked["checkpoint"], reads_data=False)
        count = 0
        with memory_watched(parts, None, run=quoted(record.run_dir)):
            for prediction in predictions(parts, config, inputs):
                write(prediction)
                count += 1
    if target != "-":
        print(f"{count:,} predictions in {target}", file=sys.stderr)
    return EXIT_DONE


def predictions(
    parts: Any, config: dict[str, Any], inputs: Iterable[dict[str, Any] | None]
) -> Iterator[dict[str, Any]]:
    """A prediction for each input, in order; a bounded number of records is held at a time.

    Args:
        parts: The run's parts, with trained weights.
        config: Its config.
        inputs: Records, or None for an input without a text, whose prediction is `EMPTY`.
    """
    given: deque[bool] = deque()  # whether each input not yet answered has a text

    def records() -> Iterator[dict[str, Any]]:
        for record in inputs:
            given.append(record is not None)
            if record is not None:
                yield record

    for prediction in predictions_of_records(parts, config, records()):
        while not given.popleft():
            yield EMPTY
        yield prediction
    yield from (EMPTY for _ in given)


def predictions_of_records(
    parts: Any, config: dict[str, Any], records: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A prediction for each record, in order."""
    import torch

    from heed.tasks.base import Work
    from heed.training.precision import resolve_precision

    accelerator = accelerator_here(config["trainer"]["accelerator"])
    device = torch.device(
        "cuda"
        if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")
        else "mps"
        if accelerator == "mps"
        else "cpu"
    )
    precision = resolve_precision(config["trainer"]["precision"], accelerator)
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.split("-")[0])
    task = parts.task.to(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype=half, enabled=half is not None):
        for chunk, batches in parts.datamodule.predict_chunks(records):
            found: dict[int, dict[str, Any]] = {}
            for batch in batches:
                task.work = Work("predict", len(batch), batch.token_positions, decoding=True)
                rows = task.predict_batch(batch.to(device), stage="predict")
                indices = [index for index, _ in batch.examples]
                found.update(zip(indices, rows, strict=True))
            assert len(found) == len(chunk), "a prediction for each record"
            yield from (found[index] for index in sorted(found))
