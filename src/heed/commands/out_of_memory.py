"""What to say when memory runs out: what was being done, how much there is, what to type."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import RunFailed
from heed.memory import gigabytes, host_memory, is_out_of_memory

if TYPE_CHECKING:
    import lightning.pytorch as pl
    import torch

    from heed.commands.assemble import Parts

CAUSE = "out of memory"
LEAST_TOKENS = 256


@contextlib.contextmanager
def memory_watched(parts: Parts, trainer: pl.Trainer | None, *, run: str) -> Iterator[None]:
    """Turn an out-of-memory error of the block into words.

    Args:
        parts: The task, which knows what it was at, and its data.
        trainer: The trainer; None where there is none.
        run: The run folder, as it can be typed.

    Raises:
        RunFailed: In place of the error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise memory_failure(error, parts, trainer, run) from error


def memory_failure(
    error: BaseException, parts: Parts, trainer: pl.Trainer | None, run: str
) -> RunFailed:
    """The message for memory that ran out in a task."""
    work = parts.task.work
    training = work is None or work.stage == "train"
    doing = "before the first step" if work is None else f"in {work.sentence()}"
    if trainer is not None and training and work is not None:
        doing += f" (step {trainer.global_step + 1:,})"
    lines = [f"there is {memory_line(device_of(parts, trainer))}"]
    if work is None or training:
        lines += training_advice(parts, trainer, run)
    else:
        lines += evaluation_advice(parts, work.stage, run)
    problem = f"{CAUSE} {doing}: {allocator_words(error)}"
    return RunFailed(problem, "\n".join(lines), cause=CAUSE)


def allocator_words(error: BaseException) -> str:
    """What the allocator said, without its own insides."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    said = re.sub(r"^\[enforce fail[^]]*\] err == 0\. ", "", said)
    return re.split(r"\.? GPU \d+ has |\. Error code ", said)[0]


def device_of(parts: Parts, trainer: pl.Trainer | None) -> torch.device:
    """Where the work was done; a trainer that has failed has moved the task away from there."""
    return parts.task.device if trainer is None else trainer.strategy.root_device


def memory_line(device: torch.device) -> str:
    """How much memory a device has, and how much is taken."""
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        most = torch.cuda.max_memory_reserved(device)
        return (
            f"{gigabytes(total)} on {torch.cuda.get_device_name(device)}; "
            f"this process has had up to {gigabytes(most)}, {gigabytes(free)} are free now"
        )
    total, free = host_memory()
    return f"{gigabytes(total)} on this machine, of which {gigabytes(free)} are free now"


def training_advice(parts: Parts, trainer: pl.Trainer | None, run: str) -> list[str]:
    """What makes a training step smaller, and how to go on with this run."""
    lines = []
    halves = halved(parts.datamodule, "data.max_tokens", "data.batch_size")
    accumulated = 1 if trainer is None else trainer.accumulate_grad_batches
    if parts.task.work is not None and parts.task.work.rows == 1:
        lines.append("the batch was a single row: lower task.preparation.max_length (or the like)")
    elif halves:
        lines.append(
            f"the same step in two halves:  {halves} "
            f"trainer.accumulate_grad_batches={2 * accumulated}"
        )
        lines.append("the most that fits:           trainer.auto_batch=true")
    precision = "" if trainer is None else str(trainer.precision)
    if precision.startswith("32") and device_of(parts, trainer).type == "cuda":
        lines.append("fewer bytes a number:         trainer.precision=bf16-mixed")
    kept = (
        trainer is not None and (Path(trainer.default_root_dir) / "checkpoints/last.ckpt").exists()
    )
    if kept:
        lines.append(
            "Other batches take a new run. This one goes on from its last checkpoint where there "
            "is more memory, or over more devices, which share a batch:\n"
            f"  heed train resume={run} trainer=ddp trainer.devices=2"
        )
    return lines


def evaluation_advice(parts: Parts, stage: str, run: str) -> list[str]:
    """What makes evaluation smaller; it changes no score."""
    module = parts.datamodule
    half = halved(module, "data.eval_max_tokens", "data.batch_size")
    lines = []
    if half:
        commands = {
            "val": f"heed train resume={run} {half}",
            "test": f"heed evaluate run={run} {half}",
        }
        lines.append(f"smaller batches, same scores:  {commands.get(stage, half)}")
    beams = getattr(getattr(parts.task, "decoder", None), "beam_size", 1)
    if stage != "val" and beams > 1:
        lines.append(f"fewer beams, other scores:     decoding.beam_size={beams // 2}")
    return lines


def halved(module: Any, *keys: str) -> str:
    """The words that halve the limits that a data module has."""
    words = []
    for key in keys:
        value = getattr(module, key.partition(".")[2], None)
        if value is not None and value > 1:
            words.append(f"{key}={max(1, value // 2)}")
    return " ".join(words)


def quoted(run_dir: Path) -> str:
    """A run folder as it can be typed."""
    from heed.commands.summary import shown_path

    return shlex.quote(shown_path(run_dir))
