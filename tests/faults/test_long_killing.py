"""Hundreds of SIGKILLs at random moments; counts what was lost. For `make faults`."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from forked import DEATH, Forked, ForkServer
from killing import BATCHES_A_STEP, STEPS_BETWEEN_SAVES, Cases

from heed.commands.run_comparison import compare_runs
from heed.training.callbacks.trace import read_trace, trace_path
from heed.training.checkpoint_io import load_checkpoint

pytestmark = pytest.mark.faults
KILLS = 210
SEED = 20_260_511
MOST_SITTINGS = 12  # the last of them comes to its end
CHOSEN = ("translation", "accumulated", "sentiment", "workers", "qa", "averaged")


class Tally:
    """What happened in the runs of one case."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lost_most = 0

    def row(self, case: str) -> str:
        names = ("runs", "kills", "before a checkpoint", "resumes", "batches made", "batches lost")
        cells = "".join(f"{self.counts[name]:>{len(name) + 2}}" for name in names)
        return f"{case:<14}{cells}{self.lost_most:>12}{self.counts['differences']:>13}"


def test_random_kills_lose_nothing_but_the_work_since_the_last_checkpoint(tmp_path, capsys):
    server = ForkServer(tmp_path)
    cases, draw = Cases(server, tmp_path), random.Random(SEED)
    tallies = {case: Tally() for case in CHOSEN}
    began = time.monotonic()
    number = 0
    try:
        while sum(tally.counts["kills"] for tally in tallies.values()) < KILLS:
            case = CHOSEN[number % len(CHOSEN)]
            run = tmp_path / case / f"run-{number}"
            one_run(cases, case, run, tallies[case], draw)
            number += 1
    finally:
        server.close()
    heading = (
        "case            runs  kills  before a checkpoint  resumes  batches made  batches lost"
        "  most lost  differences"
    )
    total = sum((tally.counts for tally in tallies.values()), Counter())
    with capsys.disabled():
        print(f"\n{heading}")
        for case, tally in tallies.items():
            print(tally.row(case))
        print(
            f"{total['kills']} kills and {total['resumes']} resumes of {total['runs']} runs in "
            f"{(time.monotonic() - began) / 60:.1f} min; {total['differences']} differences"
        )
    assert total["kills"] >= KILLS
    assert total["differences"] == 0


def one_run(cases: Cases, case: str, run: Path, tally: Tally, draw: random.Random) -> None:
    """Kill a run at random moments, resume it as often, and compare it when it is done."""
    tally.counts["runs"] += 1
    batches = len(read_trace(trace_path(cases.whole(case), 0)))
    words = cases.words(case, run)
    for sitting in range(MOST_SITTINGS):
        command = cases.server.start(*words)
        tally.counts["resumes"] += words[1].startswith("resume=")
        if sitting < MOST_SITTINGS - 1:
            wait_for_a_moment(command, trace_path(run, 0), batches, draw)
            command.kill()
        code = command.wait()
        if code == 0:
            break
        assert code == DEATH, command.output
        tally.counts["kills"] += 1
        count_losses(case, run, tally)
        if (run / "run.json").exists():
            words = ["train", f"resume={run}"]
        elif run.exists():  # killed between the making of the folder and that of its record
            run = run.with_name(run.name + "-again")
            words = cases.words(case, run)
    differences = compare_runs(cases.whole(case), run)
    tally.counts["differences"] += len(differences)
    for difference in differences:
        print(run, difference)


def wait_for_a_moment(command: Forked, trace: Path, batches: int, draw: random.Random) -> None:
    """Until a random batch is done and a little longer, or for a random time; or until it ends.

    The little longer reaches into the next batches, into saves, validations and the test; the
    random time reaches before the first batch, where a checkpoint is read.
    """
    began = time.monotonic()
    if draw.random() < 0.2:
        end = began + draw.uniform(0.0, 1.5)
        while time.monotonic() < end and not command.has_ended:
            time.sleep(0.002)
        return
    wanted = draw.randint(1, batches)
    while not command.has_ended and lines_in(trace) < wanted:
        time.sleep(0.002)
    end = time.monotonic() + draw.uniform(0.0, 0.15)
    while time.monotonic() < end and not command.has_ended:
        time.sleep(0.002)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def count_losses(case: str, run: Path, tally: Tally) -> None:
    """Batches that were trained on after the last checkpoint; never as many as lie between two."""
    trace, last = trace_path(run, 0), run / "checkpoints" / "last.ckpt"
    made = len(read_trace(trace)) if trace.exists() else 0
    if not last.exists():
        tally.counts["before a checkpoint"] += 1
        saved = 0
    else:
        callbacks = load_checkpoint(last)["callbacks"]
        saved = callbacks["Trace"]["lines"]
    tally.counts["batches made"] += made
    lost = made - saved
    tally.counts["batches lost"] += lost
    tally.lost_most = max(tally.lost_most, lost)
    between = STEPS_BETWEEN_SAVES * BATCHES_A_STEP.get(case, 1)
    assert 0 <= lost <= between, f"{run}: {lost} batches after the last checkpoint"
