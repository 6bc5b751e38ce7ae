"""`heed predict`: read texts, write what a run's model makes of them, in flat memory."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from heed.commands.arguments import parse_arguments
from heed.commands.decoding_engine import use_engine
from heed.commands.out_of_memory import memory_watched, quoted
from heed.commands.prediction_files import open_output, read_inputs
from heed.commands.quiet import quiet_libraries
from heed.commands.summary import print_config
from heed.commands.trained import (
    LEARNED,
    accelerator_here,
    check_amended,
    device_of,
    load_parts,
    read_request,
)
from heed.cores import usable_cores
from heed.errors import EXIT_DONE, UserError

USAGE = """\
usage: heed predict run=DIR [input=FILE|-] [output=FILE|-] [format=txt|csv|jsonl] [key=value ...]

Read inputs, one a line or row, and write a prediction for each, in their order. An empty line has
the prediction "", so that line N of the output always belongs to line N of the input.

  heed predict run=DIR input=texts.txt output=out.txt      a text a line
  heed predict run=DIR input=table.csv output=out.jsonl    by column names
  echo "A man sleeps." | heed predict run=DIR              from and to the terminal
  heed predict run=DIR input=FILE decoding=greedy          another way of decoding
  heed predict run=DIR input=FILE workers=1                in one process, with all its threads
"""
WORTH_A_PROCESS = 64
"""Inputs from which on another process is worth its start."""
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
    check_workers(asked["workers"])
    source, target = str(asked["input"]), str(asked["output"])
    inputs = read_inputs(source, asked["input_format"], config)
    with open_output(target, asked["format"], overwrite=asked["overwrite"], read=source) as write:
        if source == "-" and sys.stdin.isatty():
            print("Type inputs, one a line; Ctrl-D ends.", file=sys.stderr)
        quiet_libraries()
        import lightning.pytorch as pl

        pl.seed_everything(config["seed"], workers=True, verbose=False)  # sampling repeats itself
        parts, _ = load_parts(record, config, asked["checkpoint"], reads_data=False)
        use_engine(parts, config, record, device_of(config).type)
        count = 0
        with memory_watched(parts, None, run=quoted(record.run_dir)):
            for prediction in predictions(parts, config, inputs, workers=asked["workers"]):
                write(prediction)
                count += 1
    if target != "-":
        print(f"{count:,} predictions in {target}", file=sys.stderr)
    return EXIT_DONE


def predictions(
    parts: Any,
    config: dict[str, Any],
    inputs: Iterable[dict[str, Any] | None],
    *,
    workers: int | str = 1,
) -> Iterator[dict[str, Any]]:
    """A prediction for each input, in order; a bounded number of records is held at a time.

    Args:
        parts: The run's parts, with trained weights.
        config: Its config.
        inputs: Records, or None for an input without a text, whose prediction is `EMPTY`.
        workers: Processes, or "auto"; the predictions are the same.
    """
    given: deque[bool] = deque()  # whether each input not yet answered has a text

    def records() -> Iterator[dict[str, Any]]:
        for record in inputs:
            given.append(record is not None)
            if record is not None:
                yield record

    for prediction in predictions_of_records(parts, config, records(), workers=workers):
        while not given.popleft():
            yield EMPTY
        yield prediction
    yield from (EMPTY for _ in given)


def predictions_of_records(
    parts: Any,
    config: dict[str, Any],
    records: Iterator[dict[str, Any]],
    *,
    workers: int | str = 1,
) -> Iterator[dict[str, Any]]:
    """A prediction for each record, in order."""
    import torch

    from heed.decoding.workers import Workers
    from heed.tasks.base import Work
    from heed.training.allocator import keep_freed_memory
    from heed.training.precision import resolve_precision

    accelerator = accelerator_here(config["trainer"]["accelerator"])
    device = device_of(config)
    precision = resolve_precision(config["trainer"]["precision"], accelerator)
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.split("-")[0])
    task, module = parts.task.to(device), parts.datamodule
    sizes: deque[int] = deque()  # records of each chunk whose predictions are not all there

    def predict(batches: Iterable[Any]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        examples: deque[Any] = deque()

        def moved() -> Iterator[Any]:
            for batch in batches:
                examples.append(batch.examples)
                task.work = Work("predict", len(batch), batch.token_positions, decoding=True)
                yield batch.to(device)

        results = task.predict_batches(moved())
        while True:
            half_precision = torch.autocast(device.type, dtype=half, enabled=half is not None)
            with torch.inference_mode(), half_precision:
                rows = next(results, None)
            if rows is None:
                return
            yield list(zip([index for index, _ in examples.popleft()], rows, strict=True))

    def counted(chunks: Iterable[tuple[list[Any], Iterator[Any]]]) -> Iterator[Iterator[Any]]:
        for chunk, batches in chunks:
            sizes.append(len(chunk))
            yield batches

    if writes(task) and module.eval_max_tokens is not None:  # the next one joins half of the last
        half_batch = max(1, module.eval_max_tokens // 2)
        module.limit(max_tokens=module.max_tokens, eval_max_tokens=half_batch)
    if device.type == "cpu":
        keep_freed_memory()
    chunks = module.predict_chunks(records)
    first = next(chunks, None)
    if first is None:
        return
    count = processes(workers, task, device, len(first[0]))
    found: dict[int, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        stream = counted(chain([first], chunks))
        if count > 1:
            shares = (share for batches in stream for share in dealt(batches, count))
            pool: Any = stack.enter_context(Workers(lambda share: list(predict(share)), count))
            results: Iterator[Any] = chain.from_iterable(pool.map(shares))
        else:
            results = predict(chain.from_iterable(stream))
        for result in results:
            found.update(result)
            while sizes and len(found) >= sizes[0]:
                ready = sorted(found)[: sizes.popleft()]
                yield from (found.pop(index) for index in ready)
    assert not sizes, "a prediction for each record"
    assert not found, "a record for each prediction"


def dealt(batches: Iterable[Any], count: int) -> Iterator[list[Any]]:
    """The batches of a chunk for each of so many processes, in turn."""
    own = list(batches)
    yield from (own[number::count] for number in range(min(count, len(own))))


def writes(task: Any) -> bool:
    """Whether a task writes texts token by token, and does so itself."""
    engine = getattr(task, "engine", None)  # which has batches and threads of its own
    return getattr(task, "decoder", None) is not None and engine is None


def check_workers(workers: Any) -> None:
    """Refuse what is no number of processes.

    Raises:
        UserError: If it is neither "auto" nor a whole number of at least 1.
    """
    whole = isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1
    if workers != "auto" and not whole:
        raise UserError(
            f"workers must be auto or a whole number of at least 1, but is {workers!r}",
            "workers=auto takes a process for each core where that is faster",
        )


def processes(workers: int | str, task: Any, device: Any, records: int) -> int:
    """How many processes predict `records` inputs, or more: `workers`, if that is a number.

    One core each where a task writes texts on a CPU and there are enough of them to be worth the
    start (docs/notes/speed.md).
    """
    import torch

    from heed.decoding.workers import can_fork

    if device.type != "cpu" or not can_fork():
        return 1
    if getattr(task, "engine", None) is not None:
        return 1  # which has threads of its own
    if workers != "auto":
        return int(workers)
    cores = min(usable_cores(), torch.get_num_threads())  # which a user may have lowered
    return max(1, min(cores, records // WORTH_A_PROCESS)) if writes(task) else 1
