"""`trainer.auto_batch`: the largest `data.max_tokens` that fits, found by real training steps.

The steps are made in a process of their own, `python -m heed.commands.auto_batch REQUEST`, so that
nothing is left in the memory of the run, and a process that the system kills for its memory has
given an answer: that size does not fit. It is asked for doubling sizes and prints, for each, the
most memory that it has held. Where a size goes over what may be used, the line through the last two
tells the size that does not, and a fresh process makes sure of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import TOKENIZER, open_run
from heed.errors import RunFailed
from heed.memory import gigabytes, host_memory, is_out_of_memory, peak_bytes

if TYPE_CHECKING:
    import numpy as np
    import torch

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
            [sys.executable, "-m", "heed.commands.auto_batch", json.dumps(request)],
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
    low, high = best, next((p.tokens for p in probes if p.tokens > best.tokens), most)
    known = fitting
    for _ in range(TRIES):
        tokens = rounded(min(0.98 * extrapolated(known, ask.budget), high - MULTIPLE))
        if tokens <= low.tokens:
            break
        (probe,) = ask("train", [tokens])
        if fits(probe, ask.budget):
            return probe, "memory"
        high = tokens
        if probe.peak is not None:
            known = [*fitting[-1:], probe]
    return low, "memory"


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


# The process that makes the steps ----------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Answer a request: one line of JSON for each size that was tried."""
    request = json.loads(argv[0])
    quiet_libraries()
    import lightning.pytorch as pl

    from heed.commands.assemble import assemble
    from heed.commands.trained import accelerator_here

    _, config = open_run(request["run_dir"])
    config["trainer"]["accelerator"] = accelerator_here(config["trainer"]["accelerator"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    parts = assemble(config, tokenizer_dir=Path(request["run_dir"]) / TOKENIZER, warm_start=False)
    meter = Meter(config, request["world"], parts.task)
    budget = request["budget"] or meter.budget()
    say(budget=budget)
    probes: list[Probe] = []
    for tokens in request["sizes"]:
        if len(probes) > 1 and extrapolated(probes, budget) < tokens:
            break
        say(begun=tokens)
        began = time.monotonic()
        try:
            batches = worst_batches(parts, request["stage"], tokens, request["world"])
            make_steps(config, parts, request, batches)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            say(tokens=tokens, peak=None)
            break
        seconds = (time.monotonic() - began) / max(1, len(batches))
        probes.append(Probe(tokens, meter.peak(), seconds))
        say(**vars(probes[-1]))
        if not fits(probes[-1], budget) or seconds > LONGEST_STEP_SECONDS:
            break
    return 0


def say(**words: Any) -> None:
    """One line to the process that asks, at once."""
    print(json.dumps(words), flush=True)


class Meter:
    """Memory of the device that a config trains on.

    Args:
        config: The config.
        world: Processes of the run; where there are several, each has its gradients twice.
        task: The task.
    """

    def __init__(self, config: dict[str, Any], world: int, task: torch.nn.Module) -> None:
        import torch

        wants_gpu = config["trainer"]["accelerator"] in ("auto", "gpu", "cuda")
        self.kind = "cuda" if wants_gpu and torch.cuda.is_available() else "cpu"
        self.world = world
        trained = [p.numel() * p.element_size() for p in task.parameters() if p.requires_grad]
        self.buckets = sum(trained) if world > 1 else 0

    def budget(self) -> int:
        """Bytes that this process may take."""
        import torch

        if self.kind == "cuda":
            free, _ = torch.cuda.mem_get_info()
            return int(free * SHARES["cuda"])
        free = host_memory().available + peak_bytes()  # what is held already is among the peaks
        return int(free * SHARES["cpu"]) // self.world

    def peak(self) -> int:
        """The most bytes held so far."""
        import torch

        if self.kind == "cuda":
            return int(torch.cuda.max_memory_reserved()) + self.buckets
        return peak_bytes() + self.buckets


def worst_batches(parts: Parts, stage: str, tokens: int, world: int) -> list[Any]:
    """The batches that take the most memory: most positions, longest rows, longest of a stream."""
    import numpy as np

    from heed.data.loading import BatchRows, Collate
    from heed.data.sampler import EvaluationSampler, TokenBudgetSampler

    module = parts.datamodule
    split: Any = "train" if stage == "train" else "validation"
    rows = module.rows(split)
    sampler: Any
    if stage == "train":
        sampler = TokenBudgetSampler(
            lengths=rows.lengths, max_tokens=tokens, batch_size=None, seed=module.seed,
            world_size=world,
        )  # fmt: skip
    else:
        sampler = EvaluationSampler(
            lengths=rows.lengths, max_tokens=tokens, batch_size=None, examples=rows.column("index")
        )
    lengths = np.asarray(rows.lengths)
    batches = [batch for batch in sampler if batch]
    counts = np.array([len(batch) for batch in batches])
    widths = np.stack([lengths[batch].max(axis=0) for batch in batches])  # (batches, streams)
    sizes = [counts * widths.sum(axis=1), counts * (widths.astype(np.int64) ** 2).sum(axis=1)]
    sizes += [counts * widths[:, stream] for stream in range(widths.shape[1])]
    worst = list(dict.fromkeys(int(np.argmax(size)) for size in sizes))
    records = None if stage == "train" else module.records(split)
    fetch, collate = BatchRows(rows, records), Collate(module.preparation)
    worst = worst if stage == "train" else worst[:1]
    return [collate(fetch[batches[number]]) for number in worst]


def make_steps(
    config: dict[str, Any], parts: Parts, request: dict[str, Any], batches: list[Any]
) -> None:
    """Train on batches, twice so that gradients and optimizer are there, or evaluate them."""
    from torch.utils.data import DataLoader

    from heed.commands.assemble import build_callbacks
    from heed.commands.build import build

    averaging = (config.get("callbacks") or {}).get("ema")
    trainer = build(
        {
            **config["trainer"],
            **{"strategy": "auto", "devices": 1, "num_nodes": 1, "profiler": None},
            **{"max_steps": -1, "max_epochs": 1, "max_time": None, "overfit_batches": 0},
            **{"limit_train_batches": None, "limit_test_batches": None, "limit_val_batches": 0},
            **{"accumulate_grad_batches": 1, "num_sanity_val_steps": 0, "detect_anomaly": False},
        },
        key="trainer",
        callbacks=build_callbacks({"callbacks": {"ema": averaging}}),
        loggers=[],
        run_dir=Path(request["run_dir"]),
    )
    if request["stage"] == "train":
        loader: Any = DataLoader(batches * 2, batch_size=None)  # type: ignore[arg-type]
        trainer.fit(parts.task, train_dataloaders=loader)
    else:
        loader = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
        trainer.test(parts.task, dataloaders=loader, verbose=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
