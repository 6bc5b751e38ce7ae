"""What a search shows on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from heed.commands.search_display import Display
from heed.commands.search_slot import Slot
from heed.sweeps.objective import Objective
from heed.sweeps.settings import Settings
from heed.sweeps.space import Axis, Space
from heed.sweeps.study import Study
from heed.sweeps.study_file import StudyFile

SPACE = Space([Axis("model.dropout", "float", low=0.0, high=0.3)])
GOAL = [Objective("val/bleu", "max")]


@pytest.fixture
def study(tmp_path: Path):
    settings = Settings(study_name="rates", objectives=GOAL, n_trials=7, pruner="median")
    one = Study(tmp_path, settings, SPACE, {})
    StudyFile("rates", None, False, GOAL, {}, [], [], None, "now").save(tmp_path)
    yield one
    one.close()


def test_the_table_tells_what_is_best_runs_and_has_ended(study: Study):
    slots: list[Slot] = []
    display = Display(study, slots)
    display.console = Console(
        file=io.StringIO(), force_terminal=True, width=100, no_color=True, highlight=False
    )
    with display:
        for value in (3.5, 9.25, None, 0.5):
            number, params = study.ask() or (0, {})
            slots.append(Slot(number, params, study.folder, [None], 0))
            display.begun(slots[-1])
            if value is None:
                study.fail(number, "out of memory")
            elif value < 1:
                study.report(number, 1, value)
                study.prune(number, "worse than the others")
            else:
                study.finish(number, [value])
            display.ended(slots.pop())
        study.ask()
    shown = display.console.file.getvalue()
    last = shown.rpartition("study rates")[2]
    assert "2 done, 1 running, 1 pruned, 1 failed, 3 left, about 0:00:00" in last
    (best,) = [line for line in last.splitlines() if "9.25" in line]
    assert "best" in best
    assert "[2] failed: out of memory" in shown


def test_the_end_says_why_and_what_is_best(study: Study, capsys: pytest.CaptureFixture[str]):
    for value in (3.5, 9.25):
        number, _ = study.ask() or (0, {})
        study.note(number, run=f"trial-{number:04d}")
        study.finish(number, [value])
    Display(study, []).closing("sweep.timeout=1 hours are over")
    out = capsys.readouterr().out
    assert "2 trials: 2 done (sweep.timeout=1 hours are over)" in out
    assert "best  val/bleu 9.25  trial 1: model.dropout=" in out
    assert "heed train model.dropout=" in out
    assert f"heed report study={study.folder}" in out
