"""How long checkpoints take to save and to load, beside `torch.save` and `torch.load`.

    python benchmarks/checkpoints.py --parameters 1e6 1e8 --repeats 5

A checkpoint holds weights and the two moments of AdamW, 12 bytes a parameter. Every way of saving
ends with the file on disk (fsync). The ways take turns, so that what else the machine does falls on
all of them; a ratio is of medians, to `torch.save` + fsync, or `torch.load` with `weights_only`.
"blocked" is how long training waits; "written" is when the file is there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from heed.files import readable_bytes, replacing
from heed.training.asynchronous_io import AsynchronousCheckpointIO
from heed.training.checkpoint_io import AtomicCheckpointIO, load_checkpoint, verify_checkpoint

TENSORS = 48  # as many as a model of a few layers has matrices
Times = dict[str, list[float]]


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parameters", type=float, nargs="+", default=[1e6, 1e8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one if left out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for parameters in options.parameters:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            content = checkpoint(int(parameters))
            saving = save(content, Path(folder), options.repeats)
            size = (Path(folder) / "summed.ckpt").stat().st_size
            print(f"\n{parameters:,.0f} parameters, {readable_bytes(size)}")
            table(saving, base="torch.save + fsync")
            table(load(Path(folder), options.repeats), base="torch.load, weights_only")


def checkpoint(parameters: int) -> dict[str, Any]:
    """Weights and moments as a training of AdamW leaves them, cut into matrices."""
    rows = max(1, parameters // TENSORS // 256)
    weights = [torch.nn.Parameter(torch.rand(rows, 256)) for _ in range(TENSORS)]
    optimizer = torch.optim.AdamW(weights)
    for weight in weights:
        weight.grad = torch.rand_like(weight)
    optimizer.step()
    return {
        "state_dict": {f"layers.{n}.weight": weight.detach() for n, weight in enumerate(weights)},
        "optimizer_states": [optimizer.state_dict()],
        "global_step": 1,
    }


def save(content: dict[str, Any], folder: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way of saving, all of them once in each round."""
    times: Times = {}
    at_once, behind = AtomicCheckpointIO(), AsynchronousCheckpointIO()

    def plainly() -> None:
        with (folder / "plain.ckpt").open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    def whole() -> None:
        with replacing(folder / "whole.ckpt") as file:
            torch.save(content, file)

    for _ in range(repeats + 1):
        measure(times, "torch.save + fsync", plainly)
        measure(times, "written whole, no checksum", whole)
        measure(
            times,
            "AtomicCheckpointIO (checksum)",
            lambda: at_once.save_checkpoint(content, folder / "summed.ckpt"),
        )
        start = time.perf_counter()
        behind.save_checkpoint(content, folder / "behind.ckpt")
        blocked = time.perf_counter() - start
        assert behind.wait() is None
        times.setdefault("AsynchronousCheckpointIO, blocked", []).append(blocked)
        written = time.perf_counter() - start
        times.setdefault("AsynchronousCheckpointIO, written", []).append(written)
    behind.teardown()
    return {name: values[1:] for name, values in times.items()}  # the first round warms up


def load(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way of reading, from the page cache."""
    times: Times = {}
    for _ in range(repeats + 1):
        measure(
            times,
            "torch.load, weights_only",
            lambda: torch.load(folder / "plain.ckpt", weights_only=True),
        )
        measure(
            times, "load_checkpoint (checksum)", lambda: load_checkpoint(folder / "summed.ckpt")
        )
        measure(times, "verify_checkpoint", lambda: verify_checkpoint(folder / "summed.ckpt"))
    return {name: values[1:] for name, values in times.items()}


def measure(times: Times, name: str, action: Callable[[], object]) -> None:
    """Add the seconds that an action takes."""
    start = time.perf_counter()
    action()
    times.setdefault(name, []).append(time.perf_counter() - start)


def table(times: Times, *, base: str) -> None:
    """Print medians, their spread and their ratios to one of them."""
    reference = statistics.median(times[base])
    print(f"{'':<36}{'median s':>9}{'least':>9}{'most':>9}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:<36}{median:>9.3f}{min(values):>9.3f}{max(values):>9.3f}"
            f"{median / reference:>8.2f}"
        )


if __name__ == "__main__":
    main()
