"""Projection to a vocabulary and its cross entropy, forward and backward: time and memory.

    python benchmarks/vocabulary_loss.py [--device cuda] [--precision bf16] [--json FILE]

Needs torch and Heed's source. Arms take turns in one process: torch's linear layer and
`F.cross_entropy`, the same layer and `heed.heads.loss`, and both in one (`heed.heads.
projected_loss`); with `--compile`, torch's compiled too. Medians of milliseconds (of all threads on
a CPU) and the peak of what was allocated beyond the inputs (on a CPU: as the profiler saw it).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.projected_loss import projected_cross_entropy

SMOOTHING = 0.1
Arm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(N, D), (V, D), (N,) -> ()."""


def by_torch(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    logits = F.linear(hidden, weight).float()
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="sum")


def by_heed(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return label_smoothed_cross_entropy(F.linear(hidden, weight), labels, smoothing=SMOOTHING).sum


def in_one(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return projected_cross_entropy(hidden, weight, labels, smoothing=SMOOTHING).sum


def step(arm: Arm, inputs: list[Tensor], cast: contextlib.AbstractContextManager[Any]) -> Tensor:
    hidden, weight, labels = inputs
    with cast:
        total = arm(hidden, weight, labels)
    torch.autograd.grad(total / labels.numel(), (hidden, weight))
    return total.detach()


def seconds(work: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(work: Callable[[], object], device: str) -> float:
    """MiB."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(profile_memory=True) as profiler:
        work()
    held = most = 0
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted(events, key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--tokens", type=int, nargs="+")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8000, 32000])
    parser.add_argument("--width", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", help="file for the figures")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    on_cpu = asked.device == "cpu"
    arms: dict[str, Arm] = {"torch": by_torch, "heed": by_heed, "in one": in_one}
    if asked.compile:
        arms |= {f"{name}, compiled": torch.compile(arms[name]) for name in ("torch", "heed")}
    figures: list[dict[str, Any]] = []
    for tokens in asked.tokens or ([2048, 4096] if on_cpu else [4096, 25600, 32768]):
        for vocabulary in asked.vocabulary:
            for width in asked.width or ([256, 512] if on_cpu else [512, 1024]):
                torch.manual_seed(1)
                hidden = torch.randn(tokens, width, device=asked.device)
                if asked.precision == "bf16":
                    hidden = hidden.bfloat16()
                weight = torch.randn(vocabulary, width, device=asked.device).mul_(width**-0.5)
                labels = torch.randint(vocabulary, (tokens,), device=asked.device)
                inputs = [hidden.requires_grad_(), weight.requires_grad_(), labels]

                def work(arm: Arm, inputs: list[Tensor] = inputs) -> Tensor:
                    half = torch.autocast(asked.device, torch.bfloat16)
                    return step(
                        arm,
                        inputs,
                        half if asked.precision == "bf16" else contextlib.nullcontext(),
                    )

                sums = {name: float(work(arm)) for name, arm in arms.items()}
                for value in sums.values():
                    allowed = 1e-5 if asked.precision == "32" else 1e-3
                    assert abs(value / sums["torch"] - 1.0) < allowed, sums
                times: dict[str, list[float]] = {name: [] for name in arms}
                for _ in range(asked.rounds):
                    for name, arm in arms.items():
                        times[name].append(seconds(lambda arm=arm: work(arm), asked.device))
                rows = {
                    name: {
                        "ms": 1000 * statistics.median(times[name]),
                        "mib": peak(lambda arm=arm: work(arm), asked.device),
                    }
                    for name, arm in arms.items()
                }
                told = "  ".join(
                    f"{n} {x['ms']:8.2f} ms {x['mib']:6.0f} MiB" for n, x in rows.items()
                )
                print(f"N {tokens:5} V {vocabulary:5} D {width:4}: {told}", flush=True)
                figures.append(
                    {"tokens": tokens, "vocabulary": vocabulary, "width": width, "arms": rows}
                )
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump({"precision": asked.precision, "cases": figures}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
