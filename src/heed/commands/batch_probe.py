"""Real training steps at several batch sizes, and the memory they take; see `auto_batch`.

`python -m heed.commands.batch_probe REQUEST` is asked in JSON and answers in lines of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.auto_batch import LONGEST_STEP_SECONDS, SHARES, Probe, extrapolated, fits
from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import open_run
from heed.memory import host_memory, is_out_of_memory, peak_bytes
from heed.tracking.folder import TOKENIZER

if TYPE_CHECKING:
    import torch

    from heed.commands.assemble import Parts


def main(argv: Sequence[str]) -> int:
    """Answer a request: one line of JSON for each size that was tried."""
    request = json.loads(argv[0])
    quiet_libraries()
    import lightning.pytorch as pl

    from heed.commands.assemble import assemble
    from heed.commands.trained import accelerator_here
    from heed.training.allocator import keep_freed_memory

    _, config = open_run(request["run_dir"])
    config["trainer"]["accelerator"] = accelerator_here(config["trainer"]["accelerator"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    parts = assemble(config, tokenizer_dir=Path(request["run_dir"]) / TOKENIZER, warm_start=False)
    meter = Meter(config, request["world"], parts.task)
    if meter.kind == "cpu":
        keep_freed_memory()  # as training does
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
            lengths=module.train_lengths(), max_tokens=tokens, batch_size=None, seed=module.seed,
            world_size=world, packed=module.packed is True,
        )  # fmt: skip
    else:
        sampler = EvaluationSampler(
            lengths=rows.lengths, max_tokens=tokens, batch_size=None, examples=rows.column("index")
        )
    shape = sampler.shape if stage == "train" else None
    if stage == "train" and module.packed == "similar":
        shape = "own"
    lengths = np.asarray(rows.lengths)
    batches = [batch for batch in sampler if batch]
    counts = np.array([len(batch) for batch in batches])
    widths = np.stack([lengths[batch].max(axis=0) for batch in batches])  # (batches, streams)
    sizes = [counts * widths.sum(axis=1), counts * (widths.astype(np.int64) ** 2).sum(axis=1)]
    sizes += [counts * widths[:, stream] for stream in range(widths.shape[1])]
    worst = list(dict.fromkeys(int(np.argmax(size)) for size in sizes))
    records = None if stage == "train" else module.records(split)
    fetch, collate = BatchRows(rows, records), Collate(module.preparation, shape)
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
