"""Attention in training on a CPU, forward and backward, by each kernel.

    python benchmarks/cpu_attention.py --precision bf16 [--threads 2] [--rounds 15] [--json FILE]

Needs torch and Heed's source. From a projection (B, T, 3 H K) to (B, T, H K) and back to the
projection's gradient, rows padded to 3/4 on average. Arms take turns in one process; medians of
milliseconds, of the clock and of all threads; ratios of CPU time to the definition's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from heed.backbone.batched_attention import batched_attention
from heed.backbone.kernels import Kernel, reference_attention, sdpa_attention

ARMS: dict[str, Kernel] = {
    "reference": reference_attention,
    "sdpa": sdpa_attention,
    "batched": batched_attention,
}
SIZES = ((64, 4, 32), (64, 4, 64), (128, 4, 32), (64, 8, 64), (128, 8, 32))
K = 64


class Case:
    """Inputs of B rows of T positions and H heads."""

    def __init__(self, rows: int, heads: int, width: int, dtype: torch.dtype, dropout: float):
        torch.manual_seed(1)
        self.heads, self.dropout = heads, dropout
        self.projection = torch.randn(rows, width, 3 * heads * K).to(dtype).requires_grad_()
        self.gradient = torch.randn(rows, width, heads * K).to(dtype)
        lengths = torch.randint(width // 2, width + 1, (rows,))
        self.mask = (torch.arange(width) < lengths[:, None])[:, None, None]  # (B, 1, 1, T)

    def __call__(self, kernel: Kernel) -> list[Tensor]:
        parts = self.projection.split(self.heads * K, -1)
        heads = (x.unflatten(-1, (self.heads, K)).transpose(1, 2) for x in parts)
        found = kernel(*heads, mask=self.mask, dropout_p=self.dropout).transpose(1, 2).flatten(2)
        return [found, *torch.autograd.grad(found, self.projection, self.gradient)]


def measure(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
    for _ in range(rounds + 2):
        for name, kernel in ARMS.items():
            start, cpu = time.perf_counter(), time.process_time()
            case(kernel)
            times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    rows: dict[str, dict[str, float]] = {}
    for name, pairs in times.items():
        clock, cpu = (1000 * statistics.median(x) for x in zip(*pairs[2:], strict=True))
        rows[name] = {"ms": clock, "cpu_ms": cpu}
        rows[name]["ratio"] = cpu / rows["reference"]["cpu_ms"]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dropout", type=float, default=0.0, help="of weights")
    parser.add_argument("--json", help="file for the figures")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    dtype = torch.float32 if asked.precision == "32" else torch.bfloat16
    figures: list[dict[str, Any]] = []
    for rows, heads, width in SIZES:
        case = Case(rows, heads, width, dtype, asked.dropout)
        if not asked.dropout:
            results = [[x.detach() for x in case(kernel)] for kernel in ARMS.values()]
            for found in results[1:]:
                worst = max(
                    float((a - b).abs().max()) for a, b in zip(found, results[0], strict=True)
                )
                assert worst < (1e-5 if asked.precision == "32" else 0.1), "kernels differ"
        arms = measure(case, asked.rounds)
        figures.append({"rows": rows, "heads": heads, "width": width, "arms": arms})
        told = "  ".join(
            f"{name} {x['ms']:7.1f} ms ({x['cpu_ms']:7.1f} CPU, {x['ratio']:.2f})"
            for name, x in arms.items()
        )
        print(f"{rows:3} rows, {heads} heads, {width} positions: {told}", flush=True)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump({"precision": asked.precision, "cases": figures}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
