"""The profile of steps: whose time is whose, and which steps count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heed.training import step_profiler
from heed.training.step_profiler import StepProfiler, part_of

FETCH = "[_TrainingEpochLoop].train_dataloader_next"
UPDATE = "[LightningModule]Task.optimizer_step"


@pytest.mark.parametrize(
    ("action", "part"),
    [
        (FETCH, "data"),
        ("[Strategy]SingleDeviceStrategy.batch_to_device", "data"),
        ("[Strategy]SingleDeviceStrategy.training_step", "forward"),
        ("[Strategy]SingleDeviceStrategy.backward", "backward"),
        (UPDATE, "optimizer"),
        ("[LightningModule]Task.configure_gradient_clipping", "optimizer"),
        ("[Callback]Throughput.on_train_batch_end", "callbacks"),
        ("[Callback]BestCheckpoint.on_validation_end", "validation"),
        ("[Strategy]SingleDeviceStrategy.validation_step", "validation"),
        ("run_training_batch", "outer"),
    ],
)
def test_an_action_is_of_a_part(action: str, part: str) -> None:
    assert part_of(action, "outer") == part


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]
    monkeypatch.setattr(step_profiler.time, "perf_counter", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_time_within_is_counted_where_it_belongs(tmp_path: Path, clock: Callable[[float], None]):
    profiler = StepProfiler(tmp_path, max_steps=-1)  # records from step 44 on: not here

    def step(*, slow: float = 1.0, validates: bool = False) -> None:
        with profiler.profile(FETCH):
            clock(1 * slow)
        with profiler.profile("run_training_batch"):
            clock(2 * slow)
            with profiler.profile(UPDATE):
                clock(3 * slow)
                with profiler.profile("[Strategy]X.training_step"):
                    clock(10 * slow)
                with profiler.profile("[Strategy]X.backward"):
                    clock(20 * slow)
        with profiler.profile("[Callback]Y.on_train_batch_end"):
            clock(4 * slow)
        if validates:
            with profiler.profile("[Strategy]X.validation_step"):
                clock(1000)
        clock(5 * slow)

    step(slow=50)  # the first
    step()
    step(validates=True)
    step()
    with profiler.profile(FETCH):
        pass
    assert profiler.counted == 2
    assert profiler.seconds == pytest.approx(90)
    rows = [line.split()[:4] for line in profiler.summary().splitlines() if " ms " in line]
    found = {name: (float(ms), share) for name, ms, _, share in rows}
    assert found == {
        "data": (1000, "2.2%"),
        "forward": (10_000, "22.2%"),
        "backward": (20_000, "44.4%"),
        "optimizer": (3000, "6.7%"),
        "callbacks": (4000, "8.9%"),
        "loop": (7000, "15.6%"),
        "step": (45_000, "100.0%"),
    }


def test_too_few_steps_are_told(tmp_path: Path) -> None:
    assert "too few steps" in StepProfiler(tmp_path).summary()
