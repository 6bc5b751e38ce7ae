"""Runs of two processes, one of which is killed: all end, and the resumed run is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from killing import SMALL

from heed.commands.run_comparison import compare_runs
from heed.training.callbacks.trace import read_trace, trace_path

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.max_tokens=900")
CASES = {
    "translation": ("task=translation", "callbacks.ema.decay=0.9"),
    "accumulated": ("task=sentiment", "trainer.accumulate_grad_batches=3", "data.num_workers=2"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


def heed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heed", "train", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def words(root: Path, case: str, run: Path, *more: str) -> list[str]:
    paths = [f"paths.run_dir={run}", f"paths.cache_dir={root / 'cache'}"]
    return [*SMALL, *TWO, "trainer.max_steps=13", *CASES[case], *paths, *more]


@pytest.fixture(scope="module")
def whole(root: Path):
    known: dict[tuple[str, ...], Path] = {}

    def train(case: str, *more: str) -> Path:
        if (case, *more) not in known:
            run = root / f"whole-{len(known)}"
            done = heed(*words(root, case, run, *more))
            assert done.returncode == 0, done.stdout + done.stderr
            known[(case, *more)] = run
        return known[(case, *more)]

    return train


def deadly(batch: int, rank: int) -> list[str]:
    target = "+callbacks.kill._target_=heed.training.callbacks.kill.Kill"
    return [target, f"+callbacks.kill.batch={batch}", f"+callbacks.kill.rank={rank}"]


def still_there(run: Path) -> list[psutil.Process]:
    """The processes that have the folder of a run on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and any(str(run) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.parametrize(
    ("case", "batch", "rank"),
    [
        pytest.param("translation", 8, 0, marks=pytest.mark.faults),
        pytest.param("translation", 11, 1, marks=pytest.mark.learning),
        pytest.param("accumulated", 26, 0, marks=pytest.mark.learning),
    ],
)
def test_a_run_of_two_processes_is_resumed_exactly(root, whole, case, batch, rank):
    expected = whole(case)
    run = root / f"{case}-{batch}-{rank}"
    done = heed(*words(root, case, run, *deadly(batch, rank)))
    assert done.returncode == (-9 if rank == 0 else 1), done.stdout + done.stderr
    _, alive = psutil.wait_procs(still_there(run), timeout=120.0)
    assert not alive, "the others must end with the one that was killed"
    again = heed(f"resume={run}", "callbacks.kill=null")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [str(difference) for difference in compare_runs(expected, run)] == []


@pytest.mark.learning
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(root, whole, first, second):
    """The same global batches in the same order; losses to within rounding."""
    exact = ("model.dropout=0.0", "optimizer.lr=1e-3")
    expected = whole("translation", *exact)
    run = root / f"from-{first}-to-{second}"
    count = {
        1: ("trainer.strategy=auto", "trainer.devices=1"),
        2: ("trainer.strategy=ddp", "trainer.devices=2"),
    }
    begun = heed(*words(root, "translation", run, *exact, *count[first], *deadly(11, 0)))
    assert begun.returncode == -9, begun.stdout + begun.stderr
    again = heed(f"resume={run}", "callbacks.kill=null", *count[second])
    assert again.returncode == 0, again.stdout + again.stderr
    before, after = (
        global_batches(expected, [2] * 13),
        global_batches(run, [first] * 10 + [second] * 3),
    )
    assert [rows for rows, _ in after] == [rows for rows, _ in before]
    losses = [loss for _, loss in before]
    assert [loss for _, loss in after] == pytest.approx(losses, rel=1e-5)


def global_batches(run: Path, processes: list[int]) -> list[tuple[list[int], float]]:
    """Rows and summed loss of each batch over the processes that it was dealt to."""
    traces = [
        {(line["epoch"], line["position"]): line for line in read_trace(trace_path(run, rank))}
        for rank in (0, 1)
        if trace_path(run, rank).exists()
    ]
    found = []
    for place, count in zip(traces[0], processes, strict=True):
        lines = [trace[place] for trace in traces[:count]]
        rows = sorted(row for line in lines for row in line["rows"])
        found.append((rows, sum(float.fromhex(line["loss"]) for line in lines)))
    return found
