"""The report of a study: its page, its figures, and the numbers in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from heed.commands.report import main
from heed.errors import UserError
from heed.sweeps import figures
from heed.sweeps.objective import Objective
from heed.sweeps.outcomes import best_trials
from heed.sweeps.settings import Settings
from heed.sweeps.space import Axis, Condition, Space
from heed.sweeps.study import Study, open_study
from heed.sweeps.study_file import StudyFile

SPACE = Space(
    [
        Axis("optimizer.lr", "float", low=1e-5, high=1e-2, log=True),
        Axis("model.attention", "choice", choices=("full", "windowed")),
        Axis(
            "model.window", "int", low=2, high=9, when=Condition("model.attention", ("windowed",))
        ),
        Axis("model.dropout", "float", low=0.0, high=0.3),
    ]
)
BLEU, LOSS = Objective("val/bleu", "max"), Objective("val/loss", "min")


def fill(folder: Path, objectives: list[Objective], count: int = 30) -> Any:
    """A study whose score depends on the learning rate and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(study_name="s", objectives=objectives, n_trials=count, sampler="random")
    one = Study(folder, settings, SPACE, {})
    while (asked := one.ask()) is not None:
        number, point = asked
        one.note(number, run=f"trial-{number:04d}")
        score = 30 - abs(len(str(int(1 / float(point["optimizer.lr"])))) - 4) * 5
        score += 1e-3 * number
        if number % 7 == 3:
            one.fail(number, "<b>out of memory</b>")
        elif number % 7 == 5 and len(objectives) == 1:
            one.report(number, 1, score - 10)
            one.prune(number, "worse")
        else:
            one.finish(number, [score, float(point["model.dropout"])][: len(objectives)])
    StudyFile(
        study="s",
        storage=None,
        secret=False,
        objectives=objectives,
        space=SPACE.describe(),
        words=["task=translation", "name=a b"],
        command=["heed", "train"],
        seeds=None,
        started="2026-01-01T00:00:00+00:00",
    ).save(folder)
    one.close()
    return open_study(folder, None, "s")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    fill(folder, [BLEU])
    return folder


def test_the_page_stands_alone_and_tells_all_trials(single: Path, capsys):
    assert main([f"study={single}"]) == 0
    page = (single / "report.html").read_text("utf-8")
    assert not re.search(r'(?:src|href)=(?!"data:image/png)|https?://|@import|url\(', page)
    assert page.count("data:image/png;base64,") == 4
    assert "30 trials: 22 done, 4 pruned, 4 failed." in page
    assert page.count("<tr class=") == 30
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in page
    best = best_trials(open_study(single, None, "s").trials, [BLEU])[0]
    assert f"<td>{best.number}</td><td>{best.values[0]:.6g}</td>" in page
    out = capsys.readouterr().out
    command = f"heed train task=translation 'name=a b' optimizer.lr={best.params['optimizer.lr']}"
    assert command in out
    assert f"trial-{best.number:04d} split=test" in out
    for name in ("history", "importance", "parallel_coordinates", "slices"):
        assert (single / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_history_shows_the_best_so_far(single: Path):
    trials = open_study(single, None, "s").trials
    axes = figures.history(trials, [BLEU], 0).axes[0]
    (line,) = axes.lines
    values = [trial.values[0] for trial in trials if trial.state.name == "COMPLETE"]
    assert list(line.get_ydata()) == [max(values[: n + 1]) for n in range(len(values))]


def test_what_the_score_depends_on_is_most_important(single: Path):
    found = figures.importances(open_study(single, None, "s"), [BLEU], 0)
    assert max(found, key=lambda key: found[key]) == "optimizer.lr"
    assert sum(found.values()) == pytest.approx(1.0)


def test_slices_have_a_panel_for_each_key_on_its_scale(single: Path):
    trials = open_study(single, None, "s").trials
    panels = figures.slices(trials, BLEU, 0).axes
    assert {panel.get_xlabel() for panel in panels} == {axis.key for axis in SPACE}
    by_key = {panel.get_xlabel(): panel for panel in panels}
    assert by_key["optimizer.lr"].get_xscale() == "log"
    assert [t.get_text() for t in by_key["model.attention"].get_xticklabels()] == [
        *("full", "windowed")
    ]
    shown = sum(len(dots.get_offsets()) for dots in by_key["model.window"].collections)
    assert shown == sum("model.window" in trial.params for trial in trials if trial.values)


def test_several_objectives_have_a_pareto_front(tmp_path: Path):
    study = fill(tmp_path, [BLEU, LOSS], 12)
    drawn = figures.draw_all(study, [BLEU, LOSS], tmp_path)
    assert "Pareto front" in drawn
    assert len(drawn) == 9
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    front = figures.pareto_front(done, [BLEU, LOSS]).axes[0].collections[1].get_offsets()
    assert len(front) == len(best_trials(done, [BLEU, LOSS])) < len(done)


def test_a_study_in_which_nothing_ended_has_a_report(tmp_path: Path, capsys):
    settings = Settings(study_name="s", objectives=[BLEU], n_trials=1)
    one = Study(tmp_path, settings, SPACE, {})
    one.ask()
    StudyFile("s", None, False, [BLEU], SPACE.describe(), [], [], None, "now").save(tmp_path)
    assert main([f"study={tmp_path}"]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "1 trials: 1 running." in page
    assert "No trial has come to its end." in page
    one.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "study must be given"),
        (["stduy=x"], "did you mean 'study'"),
        (["study=nowhere"], "a study folder holds a study.json, but nowhere does not exist"),
    ],
)
def test_wrong_words(words: list[str], said: str):
    with pytest.raises(UserError, match=said):
        main(words)


def test_a_storage_that_needs_a_password_or_is_gone(tmp_path: Path):
    url = "postgresql://me:***@host/db"
    StudyFile("s", url, True, [BLEU], {}, [], [], None, "now").save(tmp_path)
    with pytest.raises(UserError, match="needs a password, which is not kept; add storage=URL"):
        main([f"study={tmp_path}"])
    StudyFile("s", None, False, [BLEU], {}, [], [], None, "now").save(tmp_path)
    with pytest.raises(UserError, match=r"journal.log is gone"):
        main([f"study={tmp_path}"])
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match="must be a study's file, but is broken"):
        main([f"study={tmp_path}"])
