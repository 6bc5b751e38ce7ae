"""`heed predict`: read texts, write what a run's model makes of them, in flat memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from heed.commands.amend import amend
from heed.commands.arguments import parse_arguments
from heed.commands.compose import compose
from heed.commands.prediction_files import open_output, read_inputs
from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import open_run
from heed.commands.trained import load_parts, split_overrides
from heed.errors import EXIT_DONE

USAGE = """\
usage: heed predict run=DIR [input=FILE|-] [output=FILE|-] [format=txt|csv|jsonl] [key=value ...]

Read inputs, one a line or row, and write a prediction for each, in their order.

  heed predict run=DIR input=texts.txt output=out.txt      a text a line
  heed predict run=DIR input=table.csv output=out.jsonl    by column names
  echo "A man sleeps." | heed predict run=DIR              from and to the terminal
  heed predict run=DIR input=FILE decoding=greedy          another way of decoding
"""
OWN = {"run", "checkpoint", "input", "output", "format", "input_format", "overwrite"}


def main(argv: list[str]) -> int:
    """Run `heed predict` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    mine, changes = split_overrides(arguments.overrides, OWN)
    asked = compose("predict", mine, arguments.config_dir)
    record, config = open_run(asked["run"])
    config = amend(config, changes, arguments.config_dir)
    inputs = read_inputs(asked["input"], asked["input_format"], config)
    with open_output(
        asked["output"], asked["format"], overwrite=asked["overwrite"], read=asked["input"]
    ) as write:
        quiet_libraries()
        parts, _ = load_parts(record, config, asked["checkpoint"])
        count = 0
        for prediction in predictions(parts, config, inputs):
            write(prediction)
            count += 1
    if asked["output"] != "-":
        print(f"{count:,} predictions in {asked['output']}", file=sys.stderr)
    return EXIT_DONE


def predictions(
    parts: Any, config: dict[str, Any], records: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A prediction for each record, in order; a bounded number of records is held at a time."""
    import torch

    from heed.training.precision import resolve_precision

    accelerator = config["trainer"]["accelerator"]
    device = torch.device(
        "cuda" if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda") else "cpu"
    )
    precision = resolve_precision(config["trainer"]["precision"], accelerator)
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.split("-")[0])
    task = parts.task.to(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype=half, enabled=half is not None):
        for chunk, batches in parts.datamodule.predict_chunks(records):
            found: dict[int, dict[str, Any]] = {}
            for batch in batches:
                rows = task.predict_batch(batch.to(device), stage="predict")
                indices = [index for index, _ in batch.examples]
                found.update(zip(indices, rows, strict=True))
            assert len(found) == len(chunk), "a prediction for each record"
            yield from (found[index] for index in sorted(found))
