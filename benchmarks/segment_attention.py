"""Attention over packed rows of some 30 tokens: Heed's kernels beside torch's, on a GPU.

    python benchmarks/segment_attention.py --device cuda [--sweep] [--json FILE]

Needs torch for CUDA (with its triton) and Heed's source. First every case is compared, forward and
backward, with attention by its definition in fp32 (outputs and gradients may differ by 1e-5 of the
largest number in fp32, in bf16 by twice what the definition in bf16 does); then times are taken.
Every arm starts from projections to queries, keys and values and goes back to their gradients, and
is recorded as a CUDA graph, so that only the GPU's own time counts: medians of 7, in microseconds a
call, arms taking turns. "bytes" is the share of 3.3 TB/s at which the tensors that must be read or
written would have moved. "host" is how long Python needs to start forward and backward. `--sweep`
also times tiles and warps other than those chosen. Exit code 1: one differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heed.backbone import segment_attention as here
from heed.backbone.kernels import reference_attention, sdpa_attention
from heed.backbone.packed import Packed, Segments
from heed.backbone.packed_attention import can_vary, packed_attention, varying_attention
from heed.backbone.segment_attention import Plan, projected_segment_attention, segment_attention

Arm = Callable[[list[Tensor]], Tensor]
"""Projections (1, N, ...) -> (1, N, H K)."""
CALLS, ROUNDS = 10, 7
BANDWIDTH = 3.3e12


class Case(NamedTuple):
    """Rows to attend within."""

    name: str
    segments: Segments
    heads: int
    groups: int
    width: int
    causal: bool
    cross: bool

    def inputs(self, device: str, dtype: torch.dtype) -> list[Tensor]:
        """(1, N, (H + 2 G) K), or (1, Nq, H K) and (1, Nk, 2 G K)."""
        torch.manual_seed(1)
        own, memory = self.heads * self.width, 2 * self.groups * self.width
        if self.cross:
            sizes = [(self.segments.queries.width, own), (self.segments.keys.width, memory)]
        else:
            sizes = [(self.segments.queries.width, own + memory)]
        drawn = [torch.randn(1, *size).bfloat16() for size in sizes]
        return [x.to(device, dtype).requires_grad_() for x in drawn]

    def apart(self, parts: list[Tensor]) -> list[Tensor]:
        """Queries, keys and values, (1, heads, N, K)."""
        own, memory = self.heads * self.width, self.groups * self.width
        if self.cross:
            found = [parts[0], *parts[1].split([memory, memory], -1)]
        else:
            found = list(parts[0].split([own, memory, memory], -1))
        return [x.unflatten(-1, (-1, self.width)).transpose(1, 2) for x in found]

    def arms(self) -> dict[str, Arm]:
        """The ways to compute it."""
        how: dict[str, Any] = {"segments": self.segments, "causal": self.causal}
        sizes = {"n_heads": self.heads, "head_width": self.width}

        def over(kernel: Callable[..., Tensor]) -> Arm:
            return lambda parts: kernel(*self.apart(parts), **how).transpose(1, 2).flatten(2)

        return {
            "varlen": over(varying_attention),
            "segments": over(segment_attention),
            "projected": lambda parts: projected_segment_attention(parts, **sizes, **how),
            "padded sdpa": over(lambda *x, **how: packed_attention(sdpa_attention, *x, **how)),
        }

    def definition(self, parts: list[Tensor]) -> Tensor:
        """By a mask of all pairs."""
        queries, keys = self.segments.queries, self.segments.keys
        mask = queries.segments()[:, None] == keys.segments()
        mask &= queries.mask()[0, :, None]
        if self.causal:
            mask &= keys.positions() <= queries.positions()[:, None]
        found = reference_attention(*self.apart(parts), mask=mask[None, None])
        return found.transpose(1, 2).flatten(2)


def lengths_of(total: int, seed: int) -> list[int]:
    """Lognormal lengths around 30, from 5 to 100, of `total` tokens at most."""
    generator = torch.Generator().manual_seed(seed)
    found: list[int] = []
    while True:
        drawn = torch.empty(1).log_normal_(mean=3.25, std=0.5, generator=generator)
        length = int(drawn.clamp(5, 100))
        if sum(found) + length > total:
            return found
        found.append(length)


def case(
    name: str,
    lengths: list[int],
    device: str,
    *,
    keys: list[int] | None = None,
    total: int | None = None,
    heads: int = 8,
    groups: int = 8,
    width: int = 64,
    causal: bool = False,
) -> Case:
    queries = Packed.of(torch.tensor(lengths, device=device), total)
    others = queries if keys is None else Packed.of(torch.tensor(keys, device=device))
    return Case(name, Segments(queries, others), heads, groups, width, causal, keys is not None)


def small_cases(device: str) -> list[Case]:
    """What is compared, not timed."""
    short = lengths_of(1500, 1)
    others = [min(100, 1 + 7 * n % 90) for n in short]
    odd = [5, 0, 1, 64, 65, 33, 32, 128, 200, 17]
    return [
        case("self", short, device, total=1600),
        case("causal", short, device, causal=True),
        case("cross", short, device, keys=others),
        case("grouped", odd, device, groups=2, causal=True),
        case("grouped, cross", odd, device, keys=odd[::-1], groups=1),
        case("long", [700, 3, 300], device, heads=4, groups=4, causal=True),
        case("wide heads", odd, device, heads=4, groups=2, width=128, causal=True),
        case("widest heads", odd, device, heads=2, groups=2, width=256),
        case("narrow heads", short, device, width=16),
        case("rows of 12", [12, 3, 9] * 20, device),
    ]


def outcome(arm: Arm, parts: list[Tensor], segments: Segments) -> list[Tensor]:
    """What is read of the output, and the gradients."""
    for x in parts:
        x.grad = None
    found = arm(parts)
    torch.manual_seed(2)
    weights = torch.randn(found.shape).bfloat16().to(found.device)
    real = segments.queries.mask()[..., None]
    assert bool(found.isfinite().all()), "what is left over is not finite"
    (found * weights.to(found.dtype).masked_fill(~real, 0.0)).sum().backward()
    return [found.detach().float().masked_fill(~real, 0.0), *(x.grad.float() for x in parts)]


def worst(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    """The largest difference of each, as a share of the largest number; NaN counts as infinite."""
    shares = [
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)
    ]
    return [x if x == x else float("inf") for x in shares]


def compare(case: Case, device: str, dtype: torch.dtype) -> bool:
    expected = outcome(case.definition, case.inputs(device, torch.float32), case.segments)
    allowed = [1e-5 if dtype == torch.float32 else 1e-3] * len(expected)
    if dtype != torch.float32:
        own = worst(outcome(case.definition, case.inputs(device, dtype), case.segments), expected)
        allowed = [max(2 * a, b) for a, b in zip(own, allowed, strict=True)]
    right = True
    for name in ("segments", "projected"):
        try:
            found = outcome(case.arms()[name], case.inputs(device, dtype), case.segments)
            errors = worst(found, expected)
            told = " ".join(f"{x:.1e}" for x in errors)
            good = all(a <= b for a, b in zip(errors, allowed, strict=True))
        except Exception as failure:
            told, good = f"{type(failure).__name__}: {str(failure)[:200]}", False
        right &= good
        print(f"{case.name:16} {str(dtype)[6:]:9} {name:10} {told:40} {'' if good else 'DIFFERS'}")
    return right


def recorded(work: Callable[[], object]) -> Callable[[], None]:
    """`work` as often as CALLS, as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            work()
    return graph.replay


def gpu_microseconds(work: Callable[[], None]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return 1000 * start.elapsed_time(end) / CALLS


def passes(arm: Arm, parts: list[Tensor]) -> dict[str, Callable[[], object]]:
    def forward() -> Tensor:
        with torch.no_grad():
            return arm(parts)

    gradient = torch.randn_like(forward())
    return {
        "forward": forward,
        "both": lambda: torch.autograd.grad(arm(parts), parts, gradient),
    }


def time_arms(arms: dict[str, Arm], parts: list[Tensor]) -> dict[str, dict[str, Any]]:
    """Microseconds of each arm's forward pass, of both, and of the host."""
    graphs: dict[tuple[str, str], Callable[[], None]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, arm in arms.items():
        try:
            works = passes(arm, parts)
            found = {(name, kind): recorded(work) for kind, work in works.items()}
            start = time.perf_counter()
            for _ in range(20):
                works["both"]()
            rows[name] = {"host": 1e6 * (time.perf_counter() - start) / 20}
            torch.cuda.synchronize()
        except Exception as failure:
            print(f"  {name} FAILED: {type(failure).__name__}: {str(failure)[:200]}")
            continue
        graphs.update(found)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in graphs}
    for _ in range(ROUNDS + 1):
        for key, graph in graphs.items():
            times[key].append(gpu_microseconds(graph))
    for name, row in rows.items():
        row["forward"] = statistics.median(times[name, "forward"][1:])
        row["backward"] = statistics.median(times[name, "both"][1:]) - row["forward"]
    return rows


def show(case: Case, rows: dict[str, dict[str, Any]]) -> None:
    queries, keys = case.segments.queries, case.segments.keys
    sizes = (queries.width * case.heads, 2 * keys.width * case.groups)
    moved = (
        2 * case.width * (2 * sizes[0] + sizes[1]),
        2 * case.width * (3 * sizes[0] + 2 * sizes[1]),
    )
    base = next((rows[x] for x in ("varlen", "padded sdpa") if x in rows), None)
    for name, row in rows.items():
        row["ratio"] = (base["forward"] + base["backward"]) / (row["forward"] + row["backward"])
        cells = []
        for kind, bytes_ in zip(("forward", "backward"), moved, strict=True):
            share = bytes_ / BANDWIDTH / (1e-6 * row[kind])
            cells.append(f"{kind} {row[kind]:8.1f} ({share:4.0%} of bytes)")
        print(f"  {name:28} {'  '.join(cells)}  {row['ratio']:5.2f}x  host {row['host']:6.0f}")


def always(chosen: Plan) -> Callable[..., Plan]:
    return lambda *_: chosen


def sweep(case: Case, parts: list[Tensor]) -> None:
    """Other tiles, warps and stages, the same for both passes."""
    chosen = here.plan
    queries, keys = case.segments.queries.longest, case.segments.keys.longest
    print("  chosen:", chosen(queries, keys, case.width, 2))
    arm = case.arms()["projected"]
    for tile in (16, 32, 64, 128):
        for warps in (1, 2, 4, 8):
            for stages in (1, 2):
                if not 8 <= tile // warps <= 32:
                    continue
                here.plan = always(Plan(tile, tile, warps, stages))
                row = time_arms({"": arm}, parts).get("")
                if row is not None:
                    print(
                        f"  tile {tile:3} warps {warps} stages {stages}: "
                        f"forward {row['forward']:8.1f} backward {row['backward']:8.1f}",
                        flush=True,
                    )
    here.plan = chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--json", help="file for the figures")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("needs a CUDA GPU, but torch sees none")
        return 2
    right = True
    for dtype in (torch.float32, torch.bfloat16):
        for small in small_cases(asked.device):
            right &= compare(small, asked.device, dtype)
    print("all agree" if right else "SOME DIFFER", flush=True)
    if asked.device != "cuda":
        return 0 if right else 1
    figures: list[dict[str, Any]] = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bf16, microseconds a call")
    for total in (12800, 25600):
        lengths, others = lengths_of(total, 3), lengths_of(2 * total, 4)
        for heads in (8, 16):
            sizes: dict[str, Any] = {"heads": heads, "groups": heads}
            keys = others[: len(lengths)]
            for timed in (
                case("self", lengths, "cuda", total=total, **sizes),
                case("causal", lengths, "cuda", total=total, causal=True, **sizes),
                case("cross", lengths, "cuda", total=total, keys=keys, **sizes),
            ):
                parts = timed.inputs("cuda", torch.bfloat16)
                arms = timed.arms()
                if not can_vary(timed.apart(parts)[0]):
                    del arms["varlen"]
                longest = timed.segments.queries.longest
                print(
                    f"{timed.name}: {total} tokens, {len(lengths)} rows to {longest}, {heads} heads"
                )
                rows = time_arms(arms, parts)
                show(timed, rows)
                figures.append({"case": timed.name, "tokens": total, "heads": heads, "arms": rows})
                if asked.sweep and total == 25600 and heads == 8 and timed.name != "causal":
                    sweep(timed, parts)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump({"device": torch.cuda.get_device_name(), "cases": figures}, file, indent=1)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
