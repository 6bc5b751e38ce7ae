"""SIGKILL at every kind of moment: the resumed run is the uninterrupted one, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import ForkServer
from killing import CASES, Cases

from heed.commands.run_comparison import compare_runs, compared
from heed.training.callbacks.trace import read_trace, trace_path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("killed")
    server = ForkServer(folder)
    yield Cases(server, folder)
    server.close()


def cut(cases: Cases, case: str, moment: str, number: int) -> Path:
    """The folder of a run of a case that was killed at a moment, and resumed to its end."""
    run = cases.folder / case / f"{moment} {number}".replace(" ", "-")
    cases.server.run(*cases.words(case, run), kill=(moment, number))
    cases.server.run("train", f"resume={run}")
    return run


@pytest.mark.parametrize(
    ("moment", "number"), [("in a batch", 9), ("in validation", 5), ("in a save", 3)]
)
def test_a_killed_run_is_resumed_exactly(cases, moment, number):
    run = cut(cases, "translation", moment, number)
    cases.check("translation", run)
    counts = compared(run)
    assert counts["batches"] == 23
    assert counts["logged rows"] == 7 + 5 + 1  # of training, of validation, of the test
    assert counts["values"] > 100


MOMENTS = [
    *(("before training", 1), ("in a batch", 2), ("in a save", 1)),  # before the first checkpoint
    *(("in a batch", 7), ("in a batch", 17), ("after a backward", 10), ("before a log line", 9)),
    *(("in validation", 3), ("after validation", 2), ("before a save", 3), ("in a save", 4)),
    *(("before the rename", 3), ("after the rename", 2), ("after a save", 2), ("after a save", 3)),
    *(("after a save", 4), ("in test", 1), ("at the end", 1)),
]


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "number"), MOMENTS)
@pytest.mark.parametrize("case", ["accumulated", "sentiment"])
def test_at_every_moment(cases, case, moment, number):
    cases.check(case, cut(cases, case, moment, number))


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "number"), [("in a batch", 15), ("in a save", 3)])
@pytest.mark.parametrize("case", CASES)
def test_every_task_and_option(cases, case, moment, number):
    cases.check(case, cut(cases, case, moment, number))


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["in test", "at the end", "after validation"])
def test_a_run_that_had_stopped_early_does_not_train_on(cases, moment):
    case = "stopped"
    whole = read_trace(trace_path(cases.whole(case), 0))
    assert len(whole) < 23, "it was to stop early"
    number = len(whole) // 5 if moment == "after validation" else 1
    cases.check(case, cut(cases, case, moment, number))


@pytest.mark.faults
def test_a_run_that_is_killed_again_and_again(cases):
    case = "accumulated"
    run = cases.folder / "again"
    cases.server.run(*cases.words(case, run), kill=("in a batch", 14))
    kills = ["in reading", "in going back", "before training", "in a batch", "before the rename"]
    for moment in (*kills, "in validation", "after a save", "in test", "at the end"):
        number = 7 if moment == "in a batch" else 1
        cases.server.run("train", f"resume={run}", kill=(moment, number))
    cases.server.run("train", f"resume={run}")
    cases.check(case, run)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert len(record["sessions"]) == 10
    cases.server.run("train", f"resume={run}")  # where nothing is left to be done
    cases.check(case, run)


@pytest.mark.faults
def test_more_steps_than_were_asked_for_at_first(cases):
    """Where training ended leaves no mark on one that goes on, but for the validation there."""
    run = cases.folder / "longer"
    cases.server.run(*cases.words("translation", run), "trainer.max_steps=10")
    cases.server.run("train", f"resume={run}", "trainer.max_steps=23")
    cases.check("translation", run)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_does_not_depend_on_the_number_of_workers(cases, workers):
    """Killed with one number of workers, resumed with another: the same run."""
    run = cases.folder / f"workers-{workers}"
    words = [*cases.words("workers", run), f"data.num_workers={workers}"]
    cases.server.run(*words, kill=("in a batch", 12))
    cases.server.run("train", f"resume={run}")
    cases.check("workers", run)


def test_a_difference_is_found_and_named(cases):
    """The comparison must not be blind: another seed differs in the first batch."""
    run = cases.folder / "other-seed"
    cases.server.run(*cases.words("translation", run), "seed=7")
    places = {d.file: str(d) for d in compare_runs(cases.whole("translation"), run)}
    assert places["trace-rank-0.jsonl"].startswith(
        "trace-rank-0.jsonl, line 1 (step 1, epoch 0, batch 1): rows ["
    )
    assert "metrics.csv, row 1 (step 3): train/" in places["metrics.csv"]
    assert "values differ, by up to" in places["checkpoints/last.ckpt"]
