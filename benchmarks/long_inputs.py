"""Time and memory of an encoder against the length of its input: windows, checkpointing, all of it.

    python benchmarks/long_inputs.py [--threads 1]
    python benchmarks/long_inputs.py --device cuda --precision bf16 --width 1024 --layers 4 --rows 4

Rows of 512 to 16,384 tokens through an encoder (by default one row, width 256, 2 layers; heads of
width 64, inner width 4 times the width, window 256, no dropout, the same weights in every arm).
Each arm's training step (forward and backward) and forward pass alone are timed, arms taking turns,
medians of `--rounds`; on a CPU in seconds of processor time, all threads together, which other work
beside disturbs little. Peak memory: on a GPU what torch allocated; on a CPU what a process of its
own has resident during its first step beyond what it had before. Slopes are exponents of the
length, fitted to the logarithms, over all lengths and over those from 2,048 on. A GPU is kept busy
only by enough work: with the default sizes it waits for the host to launch kernels, whatever the
length.

In the same run each arm's output and gradients are compared with full attention in fp32, under a
mask of the window if the arm has one (largest difference as a share of the largest number of its
tensor). Allowed are 1e-4 in fp32, and in bf16 twice what that same full attention differs by when
it is computed in bf16. Where full attention would need more memory than there is, or a step takes
longer than a quarter of `--longest` seconds, the next length is left out. The table is printed, and
figures and a plot are written to `--to` after each length. Needs torch alone (matplotlib for the
plot). Exit code 1 if results differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from against_length import plot, slopes
from long_input_arms import CPU_ARMS, GPU_ARMS, HEAD_WIDTH, Arm, apart, arms_of
from torch import Tensor

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
DEFINITION = "full, sdpa"
"""torch's fused kernel, which needs no room for a matrix of scores."""
ALLOWED = 1e-4


def fits(name: str, length: int, asked: argparse.Namespace) -> bool:
    """Whether the full matrices of scores have room; other arms make none."""
    if name != "full, reference":
        return True
    needed = 5 * asked.layers * asked.rows * (asked.width // HEAD_WIDTH) * length**2 * 4
    if asked.device == "cuda":
        return bool(needed < torch.cuda.mem_get_info()[0])
    from heed.memory import host_memory

    return needed < host_memory().available


def peak_alone(name: str, length: int, asked: argparse.Namespace) -> float:
    """MiB that a training step takes at most."""
    if asked.device == "cuda":
        arm = Arm(GPU_ARMS[name], asked)
        arm.step(length)  # compiles, and makes the gradients
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        arm.step(length)
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    words = [sys.executable, __file__, "--only", name, str(length)]
    for key in ("precision", "layers", "width", "rows", "threads"):
        words += [f"--{key}", str(getattr(asked, key))]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def peak_here(name: str, length: int, asked: argparse.Namespace) -> float:
    """The same of this process, which has done nothing yet."""
    from heed.memory import peak_bytes

    arm = Arm(CPU_ARMS[name], asked)
    arm.step(128)
    before = peak_bytes()
    arm.step(length)
    return (peak_bytes() - before) / 2**20


def seconds(asked: argparse.Namespace, work: Any, *given: Any) -> float:
    clock = time.perf_counter if asked.device == "cuda" else time.process_time
    start = clock()
    work(*given)
    return clock() - start


class Yardstick:
    """What all arms of one length are compared with, computed once.

    Args:
        arm: Full attention.
        length: Of the rows.
        bf16: Whether the arms compute in bf16.
    """

    def __init__(self, arm: Arm, length: int, bf16: bool) -> None:
        self.arm = arm
        self.length = length
        self.bf16 = bf16
        self._known: dict[bool, tuple[dict[str, Tensor], float]] = {}

    def compare(self, name: str, arm: Arm) -> dict[str, Any]:
        """How far an arm is from it, in which tensor, and what is allowed."""
        windowed = name.startswith("window")
        if windowed not in self._known:
            expected = self.arm.results(self.length, windowed=windowed, bf16=False)
            allowed = ALLOWED
            if self.bf16:
                coarse = self.arm.results(self.length, windowed=windowed, bf16=True)
                allowed = 2 * apart(coarse, expected)[0]
            self._known[windowed] = expected, allowed
        expected, allowed = self._known[windowed]
        share, where = apart(arm.results(self.length, bf16=self.bf16), expected)
        return {"apart": share, "apart_in": where, "allowed": allowed}


def timed(
    arms: dict[str, Arm], out: set[str], length: int, asked: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each arm's steps and forward passes; `out` gains those too slow to go on."""
    times: dict[str, dict[str, list[float]]] = {}
    for name, arm in arms.items():
        if name in out or not fits(name, length, asked):
            continue
        try:
            first = seconds(asked, arm.step, length)
            arm.forward(length)
        except Exception as failure:
            print(f"{name}, {length}: {type(failure).__name__}: {str(failure)[:200]}")
            continue
        times[name] = {"step": [], "forward": []}
        if asked.device == "cpu" and 4 * first > asked.longest:
            out.add(name)  # at the next length
    for _ in range(asked.rounds):
        for name, found in times.items():
            found["step"].append(seconds(asked, arms[name].step, length))
            found["forward"].append(seconds(asked, arms[name].forward, length))
    return times


def measure(asked: argparse.Namespace, title: str) -> list[dict[str, Any]]:
    """One row for each length and arm."""
    arms = {name: Arm(values, asked) for name, values in arms_of(asked).items()}
    rows: list[dict[str, Any]] = []
    out: set[str] = set()
    for length in asked.lengths:
        times = timed(arms, out, length, asked)
        yardstick = Yardstick(arms[DEFINITION], length, asked.precision == "bf16")
        for name, found in times.items():
            row = {"arm": name, "length": length, "step_all": found["step"]}
            row["step_s"] = statistics.median(found["step"])
            row["forward_s"] = statistics.median(found["forward"])
            row["peak_mib"] = peak_alone(name, length, asked)
            if DEFINITION in times:
                row |= yardstick.compare(name, arms[name])
            rows.append(row)
            show(row)
        write(rows, title, asked)
    return rows


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['length']:6} {row['arm']:29} {1000 * row['step_s']:10.1f} "
        f"{1000 * row['forward_s']:10.1f} {row['peak_mib']:9.0f}",
        end=" ",
    )
    if "apart" in row:
        print(f"{row['apart']:8.1e} {row['allowed']:8.1e} {row['apart_in']}", end="")
    print(flush=True)


def write(rows: list[dict[str, Any]], title: str, asked: argparse.Namespace) -> None:
    to = Path(asked.to)
    to.mkdir(parents=True, exist_ok=True)
    file = to / f"long_inputs_{asked.device}_{asked.precision}.json"
    found = {"machine": title, "rows": rows, "slopes": slopes(rows)}
    file.write_text(json.dumps(found, indent=1) + "\n")
    try:
        plot(rows, title, file.with_suffix(".png"))
    except ImportError:
        print("no plot: matplotlib is not installed")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--width", type=int, default=256, help="a multiple of 64")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--longest", type=float, default=120.0, help="seconds of a step on a CPU")
    parser.add_argument("--all", action="store_true", help="flex attention in fp32 too")
    parser.add_argument("--to", default="docs/results", help="folder for figures and plot")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(asked.threads)
    if asked.only:
        print(peak_here(asked.only[0], int(asked.only[1]), asked))
        return 0
    device = torch.cuda.get_device_name() if asked.device == "cuda" else "CPU"
    title = f"{device}, {asked.precision}, torch {torch.__version__}, {asked.layers} layers"
    title += f" of width {asked.width}, {asked.rows} row{'s' * (asked.rows > 1)}"
    if asked.device == "cpu":
        title += f", {asked.threads} thread{'s' * (asked.threads > 1)}"
    print(title)
    print(
        f"{'tokens':>6} {'arm':29} {'step ms':>10} {'forward ms':>10} {'peak MiB':>9} {'apart':>8} "
        f"{'allowed':>8} in"
    )
    rows = measure(asked, title)
    print(f"{'slope of':10} {'arm':29} {'all':>6} {'from 2048':>9}")
    for fit in slopes(rows):
        ends = [f"{fit[n]:.2f}" if fit[n] is not None else "-" for n in ("all", "from_2048")]
        print(f"{fit['what']:10} {fit['arm']:29} {ends[0]:>6} {ends[1]:>9}")
    compared = [row for row in rows if "apart" in row]
    bad = [row for row in compared if row["apart"] > row["allowed"]]
    print(f"{len(compared)} of {len(rows)} results compared; {len(bad)} are too far apart")
    return 1 if bad or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
