"""Where the time of a training step goes: shares by part, the costliest operators, a trace."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler

NAME = "steps"
TRACE = "trace.json.gz"
TRACED_STEPS = 5
OPERATORS = 12
PARTS = {
    "data": "waiting for batches, moving them to the device",
    "forward": "the model and its loss",
    "backward": "gradients",
    "optimizer": "clipping, the update, the schedule",
    "callbacks": "checks, logs, progress, checkpoints",
    "loop": "what Lightning does between them",
}


class StepProfiler(Profiler):
    """Times the parts of training steps, and then has torch record a few operator by operator.

    A part's time is its own: what is called within it is counted where it belongs. The first step
    is left out, and so are steps around a validation, and those that torch records, which are
    slower. On a GPU every part is waited for, so that its time is its own; steps take longer then.

    Args:
        dirpath: Where `fit-steps.txt` and `trace.json.gz` (Chrome's format, for
            https://ui.perfetto.dev) are written.
        max_steps: Training steps at most; the trace is of steps within them.
    """

    def __init__(self, dirpath: Path, *, max_steps: int = -1) -> None:
        super().__init__(dirpath=dirpath, filename=NAME)
        steps = max_steps if max_steps > 0 else 50
        self._first_traced = max(1, steps - TRACED_STEPS - 1)
        self._own: dict[str, float] = defaultdict(float)  # of the counted steps
        self._step: dict[str, float] = defaultdict(float)  # of the step under way
        self._stack: list[tuple[str, float, float]] = []  # part, start, time of what is within
        self._begun: float | None = None
        self._number = -1
        self._counts = True
        self.counted = 0
        self.seconds = 0.0
        self._torch: Any = None
        self._operators = ""

    # What Lightning says --------------------------------------------------------------------------

    def start(self, action_name: str) -> None:
        """An action begins; the first of a step is that a batch is fetched."""
        if action_name.endswith("train_dataloader_next"):
            self._next_step()
        self._settle()
        outer = self._stack[-1][0] if self._stack else "loop"
        self._stack.append((part_of(action_name, outer), time.perf_counter(), 0.0))

    def stop(self, action_name: str) -> None:
        """It ends."""
        if not self._stack:
            return
        self._settle()
        part, began, within = self._stack.pop()
        took = time.perf_counter() - began
        self._step[part] += took - within
        if self._stack:
            outer, start, inside = self._stack[-1]
            self._stack[-1] = (outer, start, inside + took)

    def _next_step(self) -> None:
        now = time.perf_counter()
        counts = self._counts and self._number >= 1 and self._torch is None
        if self._begun is not None and counts and "validation" not in self._step:
            self.counted += 1
            self.seconds += now - self._begun
            for part, seconds in self._step.items():
                self._own[part] += seconds
        self._number += 1
        self._step.clear()
        if self._number == self._first_traced:
            self._record()
        elif self._number == self._first_traced + TRACED_STEPS:
            self._finish()
        self._begun = time.perf_counter()

    def _settle(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()

    # Torch's own ----------------------------------------------------------------------------------

    def _record(self) -> None:
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_initialized():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._torch = torch.profiler.profile(activities=kinds)
        self._torch.start()

    def _finish(self) -> None:
        """Stop recording, keep the trace and the costliest operators."""
        if self._torch is None:
            return
        recorded, self._torch, self._counts = self._torch, None, False
        recorded.stop()
        assert self.dirpath is not None
        Path(self.dirpath).mkdir(parents=True, exist_ok=True)
        if self._local_rank in (None, 0):
            recorded.export_chrome_trace(str(Path(self.dirpath) / TRACE))
        self._operators = operators_table(recorded.key_averages())

    def teardown(self, stage: str | None) -> None:
        """End what is still recorded."""
        self._finish()
        super().teardown(stage)

    # The report -----------------------------------------------------------------------------------

    def summary(self) -> str:
        """The table, written to a file at the end of training."""
        self._finish()
        if self._stage not in {None, "fit"}:
            return ""
        lines = [f"Where a training step goes (mean of {self.counted:,}, the first left out)", ""]
        if self.counted:
            lines += self._shares()
        else:
            lines.append("  too few steps: give trainer.max_steps=20 or more")
        if self._operators:
            lines += ["", "The costliest operators of recorded steps", "", self._operators]
        return "\n".join([*lines, ""])

    def _shares(self) -> list[str]:
        own = dict(self._own)
        own["loop"] = own.get("loop", 0.0) + self.seconds - sum(own.values())
        rows = [(part, own.get(part, 0.0), said) for part, said in PARTS.items()]
        rows.append(("step", self.seconds, ""))
        each, whole = 1000 / self.counted, self.seconds
        return [
            f"  {part:<10} {seconds * each:9.2f} ms {seconds / whole:7.1%}  {said}".rstrip()
            for part, seconds, said in rows
        ]


def part_of(action: str, outer: str) -> str:
    """The part that an action of Lightning belongs to; one that says nothing is part of its outer.

    Args:
        action: As Lightning names it, for instance "[Strategy]SingleDeviceStrategy.backward".
        outer: The part of the action that it is within.
    """
    kind, _, name = action.rpartition(".")
    if "validation" in action or name.startswith("val_"):
        return "validation"
    if name == "train_dataloader_next" or "batch_to_device" in name or "batch_transfer" in name:
        return "data"
    if kind.startswith("[Callback]"):
        return "callbacks"
    if name == "training_step":
        return "forward"
    if name == "backward":
        return "backward"
    if "optimizer" in name or "gradient_clip" in name or "lr_scheduler" in name:
        return "optimizer"
    return outer


def operators_table(events: Any) -> str:
    """The operators that take most time of their own: calls, milliseconds, share."""
    on_gpu = any(event.self_device_time_total for event in events)

    def took(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    rows = sorted(events, key=took, reverse=True)
    total = sum(map(took, rows)) or 1.0
    lines = [f"  {'operator':<44} {'calls':>7} {'ms':>10} {'share':>7}"]
    lines += [
        f"  {event.key[:44]:<44} {event.count:>7,} {own / 1000:>10.2f} {own / total:>7.1%}"
        for event, own in ((event, took(event)) for event in rows[:OPERATORS])
    ]
    return "\n".join(lines)
