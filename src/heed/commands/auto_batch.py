"""`trainer.auto_batch`: the largest `data.max_tokens` that fits, found by real training steps.

The steps are made in a process of their own (`batch_probe`), so that nothing is left in the memory
of the run, and a process that the system kills for its memory has given an answer: that size does
not fit. It is asked for doubling sizes and tells, for each, the most memory that it has held. The
line through the last two gives the size that just fits, and a fresh process makes sure of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import RunFailed
from heed.memory import gigabytes

if TYPE_CHECKING:
    import numpy as np

    from heed.commands.assemble import Parts

MULTIPLE = 256  # found sizes are a multiple of it, so that they come out alike again
FIRST = 1024  # tokens of the first probe
STEPS_OF_AN_EPOCH = 50  # at least; with fewer, larger batches learn less from the same data
SHARES = {"cpu": 0.8, "cuda": 0.9}  # of the free memory that may be used; a CPU has other users
LONGEST_STEP_SECONDS = 60.0  # sizes above one that takes so long are not tried
TRIES = 4
# What tells a process that it is one of several; the one that makes the steps is alone.
OF_A_GROUP = ("SLURM_", "TORCHELASTIC_", "LOCAL_", "GROUP_", "RANK", "WORLD_SIZE", "MASTER_")


@dataclass
class Probe:
    """A size that was tried.

    Attributes:
        tokens: The `max_tokens`.
        peak: The most memory held by then, in bytes; None where it did not fit.
        seconds: What its longest step took.
    """

    tokens: int
    peak: int | None
    seconds: float = 0.0


@dataclass
class Found:
    """What is to be written into the config, and why.

    Attributes:
        max_tokens: The largest training batch, all processes together.
        eval_max_tokens: The evaluation batch; lowered if it did not fit.
        peak: Bytes of the step, in one process.
        budget: Bytes that it might take.
        reason: What limits it.
    """

    max_tokens: int
    eval_max_tokens: int | None
    peak: int
    budget: int
    reason: str

    def line(self, learning_rate: float) -> str:
        """What the user is told."""
        return (
            f"auto_batch  data.max_tokens={self.max_tokens} (a step takes "
            f"{gigabytes(self.peak)} of the {gigabytes(self.budget)} that may be used; "
            f"limited by {self.reason}), data.eval_max_tokens={self.eval_max_tokens}\n"
            f"            optimizer.lr stays {learning_rate:g}: another batch size may want another"
        )


def find_batch(
    config: dict[str, Any], run_dir: Path, parts: Parts, *, budget: int | None = None
) -> Found:
    """Find the limits for a new run whose config and tokenizers are in its folder.

    Args:
        config: Its frozen config.
        run_dir: Its folder.
        parts: Its parts, with the data prepared.
        budget: Bytes that one process may take; None: a share of what is free.

    Raises:
        RunFailed: If not even the smallest batch fits.
    """
    from heed.commands.ranks import processes

    world = processes(config["trainer"])
    lengths = parts.datamodule.rows("train").lengths
    most, why = useful_most(config, lengths, world)
    first = min(max(FIRST, 2 * world * int(lengths.sum(axis=1).max())), most)
    ask = Asking(run_dir, world, budget)
    probe, reason = largest(ask, first, most, why)
    evaluation = config["data"]["eval_max_tokens"]
    if evaluation is not None:
        evaluation = evaluation_limit(ask, int(evaluation))
    assert probe.peak is not None
    return Found(probe.tokens, evaluation, probe.peak, ask.budget, reason)


def useful_most(config: dict[str, Any], lengths: np.ndarray, world: int) -> tuple[int, str]:
    """The largest size that is worth having, and what it is limited by."""
    trainer = config["trainer"]
    steps = STEPS_OF_AN_EPOCH * trainer["accumulate_grad_batches"]
    most, why = int(lengths.sum()) // steps, f"the {STEPS_OF_AN_EPOCH} steps that an epoch keeps"
    stated = trainer["auto_batch"]
    if not isinstance(stated, bool) and stated < most:
        most, why = int(stated), f"trainer.auto_batch={stated}"
    least = 2 * world * int(lengths.sum(axis=1).max())  # a row for each process
    return max(rounded(most), -(-least // MULTIPLE) * MULTIPLE), why


def rounded(tokens: float) -> int:
    """Down to a multiple, at least one."""
    return max(1, int(tokens) // MULTIPLE) * MULTIPLE


class Asking:
    """Asks a process of its own for the memory of real steps.

    Args:
        run_dir: The run folder.
        world: Processes of the run on this machine, which share its memory.
        budget: Bytes that one process may take; None lets the process say.

    Attributes:
        budget: The same, once it is known.
    """

    def __init__(self, run_dir: Path, world: int, budget: int | None) -> None:
        self.run_dir, self.world = run_dir, world
        self.budget = budget or 0

    def __call__(self, stage: str, sizes: Sequence[int]) -> list[Probe]:
        """Try sizes in turn until one is, or the next would be, over the budget."""
        request = {
            "run_dir": os.fspath(self.run_dir.absolute()),
            "stage": stage,
            "sizes": list(sizes),
            "world": self.world,
            "budget": self.budget,
        }
        done = subprocess.run(
            [sys.executable, "-m", "heed.commands.batch_probe", json.dumps(request)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith(OF_A_GROUP)},
        )
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.budget = next((one["budget"] for one in said if "budget" in one), self.budget)
        probes = [Probe(**one) for one in said if "tokens" in one]
        begun = [one["begun"] for one in said if "begun" in one]
        if done.returncode and len(begun) > len(probes) and done.returncode in (-9, 137):
            probes.append(Probe(begun[-1], None))  # killed for its memory
        elif done.returncode:
            raise RuntimeError(f"the process that tries batch sizes failed:\n{done.stderr[-2000:]}")
        return probes


def largest(ask: Asking, first: int, most: int, why: str) -> tuple[Probe, str]:
    """The largest size that fits, and what it is limited by."""
    sizes = list(doubling(first, most))
    probes = ask("train", sizes)
    fitting = [probe for probe in probes if fits(probe, ask.budget)]
    if not fitting:
        peak = next((probe.peak for probe in probes if probe.peak), None)
        needs = f"takes {gigabytes(peak)}" if peak else "does not fit"
        raise RunFailed(
            f"out of memory: a batch of data.max_tokens={sizes[0]} {needs}, "
            f"and {gigabytes(ask.budget)} may be used",
            "choose a smaller model=, shorter texts (task.preparation.max_length), or free memory",
            cause="out of memory",
        )
    best = fitting[-1]
    if best.tokens == sizes[-1]:
        return best, why
    if best.seconds > LONGEST_STEP_SECONDS and len(probes) == len(fitting):
        return best, f"a step of {best.seconds:.0f} s"
    return refined(ask, probes, best, most), "memory"


def refined(ask: Asking, probes: Sequence[Probe], best: Probe, most: int) -> Probe:
    """A larger size than the best, by the line through the peaks, or halfway to a failure."""
    failed = next((probe for probe in probes if probe.tokens > best.tokens), None)
    high = most if failed is None else failed.tokens
    halfway = failed is not None and failed.peak is None  # what it would take is not known
    known = [probe for probe in probes if fits(probe, ask.budget)]
    for _ in range(TRIES):
        guess = (best.tokens + high) / 2 if halfway else 0.98 * extrapolated(known, ask.budget)
        tokens = rounded(min(guess, high - MULTIPLE))
        if tokens <= best.tokens:
            break
        (probe,) = ask("train", [tokens])
        if fits(probe, ask.budget):
            return probe
        high, halfway = tokens, probe.peak is None
        known = [best, probe]
    return best


def evaluation_limit(ask: Asking, wanted: int) -> int:
    """The wanted size, halved until it fits."""
    tokens = wanted
    while tokens > MULTIPLE:
        (probe,) = ask("test", [tokens])
        if fits(probe, ask.budget):
            break
        tokens = rounded(tokens / 2)
    return tokens


def doubling(first: int, most: int) -> Iterator[int]:
    """`first`, twice that, and so on; `most` at the end."""
    while first < most:
        yield first
        first *= 2
    yield most


def fits(probe: Probe, budget: int) -> bool:
    return probe.peak is not None and probe.peak <= budget


def extrapolated(probes: Sequence[Probe], budget: int) -> float:
    """The size at which the line through the last two peaks meets the budget."""
    measured = [(probe.tokens, probe.peak) for probe in probes if probe.peak is not None]
    if len(measured) < 2:
        return measured[0][0] * 1.5
    (few, low), (many, high) = measured[-2:]
    slope = max((high - low) / (many - few), 1.0)
    return many + (budget - high) / slope
