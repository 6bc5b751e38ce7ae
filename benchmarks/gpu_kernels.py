"""Every attention kernel of a GPU against the definition, forward and backward, and their times.

    python benchmarks/gpu_kernels.py [--budget 90] [--cases bias ...] [--json FILE]

Needs torch and a CUDA GPU, nothing else. Each case is computed by `reference_attention` in fp32
(with a mask where a kernel has a window or segments), then by each kernel in bf16 and, for some, in
fp32. A kernel's outputs and gradients must differ from the definition's by no more than 1e-4 of the
largest number in fp32, and in bf16 by no more than twice what the definition itself does in bf16.
Times are medians of 7 of forward and backward together, in milliseconds, arms taking turns; the
ratio is to the first that ran of the same case and precision. What fails is printed and the rest
goes on; exit code 1 if anything failed or differed. After the budget, arms are left out, and it is
said so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from attention_cases import Arm, Case, cases
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.packed import pack
from heed.backbone.transformer import Transformer

ROUNDS = 7
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inputs(case: Case, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(2)
    drawn = [torch.randn(shape, device=DEVICE).bfloat16() for shape in case.shapes]
    return [x.to(dtype).requires_grad_() for x in drawn]


def outcome(case: Case, arm: Arm, dtype: torch.dtype) -> list[Tensor]:
    """The output where it is read, and the gradients of all inputs, in fp32."""
    x = inputs(case, dtype)
    found = arm(x)
    if case.real is not None:
        found = found.masked_fill(~case.real, 0.0)
    torch.manual_seed(3)
    weights = torch.randn(found.shape, device=DEVICE).bfloat16()
    (found.float() * weights.float()).sum().backward()
    return [found.detach().float(), *(y.grad.float() for y in x if y.grad is not None)]


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number of its tensor; NaN counts as all."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        share = float((a - b).abs().max() / b.abs().max())
        worst = max(worst, share if share == share else float("inf"))
    return worst


def timed(work: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def measure(case: Case, dtype: torch.dtype, until: float) -> list[dict[str, Any]]:
    """One row for each arm: whether it agrees, its first call's seconds, its milliseconds."""
    expected = outcome(case, case.definition, torch.float32)
    allowed = 1e-4
    if dtype != torch.float32:
        allowed = max(2 * error(outcome(case, case.definition, dtype), expected), 1e-3)
    rows: list[dict[str, Any]] = []
    steps: dict[str, Callable[[], object]] = {}
    for name, arm in case.arms.items():
        if name == "varlen" and dtype == torch.float32:  # it has half precision only
            continue
        row = {"case": case.name, "precision": str(dtype).split(".")[1], "kernel": name}
        rows.append(row)
        if time.time() > until:
            row["fault"] = "left out, over the budget"
            continue
        start = time.time()
        try:
            row["error"], row["allowed"] = error(outcome(case, arm, dtype), expected), allowed
            if not row["error"] <= allowed:
                row["fault"] = "DIFFERS"
        except Exception as failure:
            row["fault"] = told(failure)
            continue
        row["first_s"] = time.time() - start
        steps[name] = _step(case, arm, dtype)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS + 2):
        for name, step in steps.items():
            times[name].append(timed(step))
    for row in rows:
        if row["kernel"] in times:
            row["ms"] = statistics.median(times[row["kernel"]][2:])
    base = next((row["ms"] for row in rows if "ms" in row), None)
    for row in rows:
        if "ms" in row:
            row["ratio"] = row["ms"] / base
    return rows


def _step(case: Case, arm: Arm, dtype: torch.dtype) -> Callable[[], object]:
    x = inputs(case, dtype)
    gradient = torch.randn_like(arm(x))
    return lambda: torch.autograd.grad(arm(x), x, gradient)


def model_rows() -> Iterator[dict[str, Any]]:
    """A whole encoder-decoder's training step: rows padded and rows packed."""
    torch.manual_seed(4)
    rows, width = 512, 64
    lengths = torch.randint(4, width + 1, (2, rows), device=DEVICE)
    ids = torch.randint(8000, (2, rows, width), device=DEVICE)
    padded = [Padded(x, width) for x in lengths]
    packed = [pack(x, layout) for x, layout in zip(ids, padded, strict=True)]
    base = None
    for kernel, how in (("sdpa", "padded"), ("auto", "packed"), ("flex", "packed")):
        torch.manual_seed(5)
        model = Transformer(
            shape="encoder_decoder", vocabulary_size=8000, kernel=kernel, dropout=0.0
        ).to(DEVICE)

        def step(model: Transformer = model, how: str = how) -> Tensor:
            with torch.autocast("cuda", torch.bfloat16):
                if how == "padded":
                    memory = model.encode(ids[0], padded[0])
                    hidden = model.decode(ids[1], padded[1], memory, padded[0])
                    hidden = hidden[padded[1].mask()]
                else:
                    memory = model.encode(*packed[0])
                    hidden = model.decode(*packed[1], memory, packed[0][1])[0]
            loss = hidden.float().square().mean()
            loss.backward()
            return loss.detach()

        row = {
            "case": "model, 6 + 6 layers",
            "precision": "bf16-mixed",
            "kernel": f"{how}, {kernel}",
        }
        try:
            start = time.time()
            row["loss"] = float(step())
            row["first_s"] = time.time() - start
            row["ms"] = statistics.median([timed(step) for _ in range(ROUNDS + 2)][2:])
            base = base or row
            row["ratio"] = row["ms"] / base["ms"]
            row["error"], row["allowed"] = abs(row["loss"] / base["loss"] - 1.0), 1e-2
            if not row["error"] <= row["allowed"]:
                row["fault"] = "DIFFERS"
        except Exception as failure:
            row["fault"] = told(failure)
        yield row


def told(failure: Exception) -> str:
    return f"FAILED: {type(failure).__name__}: {str(failure)[:300]}"


def show(row: dict[str, Any]) -> None:
    def cell(name: str, form: str) -> str:
        return format(row[name], form) if name in row else ""

    print(
        f"{row['case']:44} {row['precision']:10} {row['kernel']:12} {cell('error', '.1e'):>8} "
        f"{cell('allowed', '.1e'):>8} {cell('first_s', '.1f'):>7} {cell('ms', '.3f'):>9} "
        f"{cell('ratio', '.2f'):>6}  {row.get('fault', '')}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=90.0, help="seconds")
    parser.add_argument("--cases", nargs="+", help="words, one of which a case's name begins with")
    parser.add_argument("--json", help="file for the figures")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA GPU, but torch sees none")
        return 2
    warnings.filterwarnings("ignore")
    until = time.time() + asked.budget
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(
        f"{'case':44} {'precision':10} {'kernel':12} {'error':>8} {'allowed':>8} {'first s':>7} "
        f"{'ms':>9} {'ratio':>6}"
    )
    rows: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        for case in cases(DEVICE):
            if dtype == torch.float32 and not case.in_fp32:
                continue
            if asked.cases and not case.name.startswith(tuple(asked.cases)):
                continue
            try:
                found = measure(case, dtype, until)
            except Exception as failure:
                found = [{"case": case.name, "precision": "", "kernel": "", "fault": told(failure)}]
            for row in found:
                rows.append(row)
                show(row)
            torch.cuda.empty_cache()
        if dtype == torch.bfloat16 and not asked.cases:
            for row in model_rows():
                rows.append(row)
                show(row)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(
                {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows},
                file,
                indent=1,
            )
    bad = [row for row in rows if str(row.get("fault", "")).startswith(("DIFFERS", "FAILED"))]
    print(f"{len(rows) - len(bad)} of {len(rows)} arms agree or were left out; {len(bad)} do not")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
