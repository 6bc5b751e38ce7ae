"""Studies without training: what is asked for, told, lost, shared and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heed.errors import RunFailed, UserError
from heed.sweeps.objective import Objective, read_objectives, values_of
from heed.sweeps.outcomes import best_trials, is_lost, stale_trials
from heed.sweeps.settings import Settings
from heed.sweeps.space import Axis, Space
from heed.sweeps.study import Study

SPACE = Space(
    [
        Axis("optimizer.lr", "float", low=1e-5, high=1e-3, log=True),
        Axis("model", "choice", choices=("tiny", "small")),
    ]
)
LOSS, BLEU = Objective("val/loss", "min"), Objective("val/bleu", "max")


def settings(**changes: Any) -> Settings:
    return Settings(**{"study_name": "s", "objectives": [BLEU], "n_trials": 6, **changes})


@pytest.fixture
def study(tmp_path: Path):
    """`study(...)` opens the study of this test as another process would."""
    opened = []

    def make(space: Space = SPACE, fixed: dict[str, Any] | None = None, **changes: Any) -> Study:
        opened.append(Study(tmp_path, settings(**changes), space, fixed or {"seed": 1}))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def states(one: Study) -> list[str]:
    return [trial.state.name for trial in one.trials()]


def test_two_processes_share_the_trials_and_their_number(study):
    first, second = study(), study()
    numbers = []
    for index in range(6):
        number, _ = (first, second)[index % 2].ask()
        numbers.append(number)
    assert numbers == [0, 1, 2, 3, 4, 5]
    assert first.ask() is None
    assert second.ask() is None
    first.finish(0, [3.0])
    assert second.trials()[0].values == [3.0]
    assert len({trial.params["optimizer.lr"] for trial in first.trials()}) == 6


def test_a_study_that_is_stopped_samples_as_one_that_is_not(tmp_path: Path):
    def sampled(folder: Path, sittings: int) -> list[Any]:
        folder.mkdir()
        points = []
        for _ in range(sittings):
            one = Study(folder, settings(n_trials=None, sampler="tpe", timeout=1), SPACE, {})
            for _ in range(12 // sittings):
                number, point = one.ask()
                one.finish(number, [float(point["optimizer.lr"])])
                points.append(point)
            one.close()
        return points

    assert sampled(tmp_path / "a", 1) == sampled(tmp_path / "b", 4)


def test_a_lost_trial_is_failed_and_its_point_tried_again_once(study):
    gone = study()
    number, point = gone.ask()
    gone.note(number, run="trial-0000")
    gone.report(number, 1, 7.0)
    other = study()
    assert other.lost_trials() == []  # its process lives
    gone.close()
    assert [trial.number for trial in other.lost_trials()] == [0]
    other.retry_lost()
    other.retry_lost()
    assert states(other) == ["FAIL", "WAITING"]
    assert is_lost(other.trials()[0])
    again, same = other.ask()
    assert (again, same) == (1, point)
    attributes = other.trials()[1].user_attrs
    assert attributes["lost_run"] == "trial-0000"
    assert attributes["retry_of"] == 0
    assert other.trials()[1].intermediate_values == {1: 7.0}
    numbers = []
    while (asked := other.ask()) is not None:
        numbers.append(asked[0])
    assert numbers == [2, 3, 4, 5, 6]  # six trials without the lost one


def test_a_failed_trial_keeps_its_reason_and_is_not_tried_again(study):
    one = study()
    number, _ = one.ask()
    one.fail(number, "out of memory")
    one.retry_lost()
    assert states(one) == ["FAIL"]
    assert one.trials()[0].user_attrs["reason"] == "out of memory"
    assert not is_lost(one.trials()[0])


def test_a_point_that_takes_its_process_along_three_times_is_given_up(study):
    for _ in range(3):
        one = study(n_trials=1)
        one.lost_trials()
        one.retry_lost()
        assert one.ask() is not None
        assert one.ask() is None
        one.close()
    last = study(n_trials=1)
    last.lost_trials()
    last.retry_lost()
    assert last.ask() is None
    assert "went away 3 times" in last.trials()[2].user_attrs["reason"]


def test_rungs_are_filled_with_the_first_score_at_or_after_them(study):
    one = study(rung_tokens=100, pruner="median")
    number, _ = one.ask()
    for tokens, value in ((60, 1.0), (130, 2.0), (150, 3.0), (420, 4.0)):
        one.report_rungs(number, tokens, value)
    assert one.trials()[number].intermediate_values == {1: 2.0, 2: 4.0, 3: 4.0, 4: 4.0}


def test_rungs_are_a_little_closer_than_the_first_validation(study):
    one = study()
    number, _ = one.ask()
    one.report_rungs(number, 1000, 1.0)
    assert one.rung_tokens(5) == 900
    second, _ = one.ask()
    one.report_rungs(second, 950, 2.0)  # a little less text by chance
    assert one.trials()[second].intermediate_values == {1: 2.0}


def test_the_median_prunes_at_equal_rungs(study):
    one = study(pruner="median", pruner_options={"n_startup_trials": 1}, rung_tokens=10)
    good, _ = one.ask()
    one.report_rungs(good, 35, 5.0)
    assert not one.should_prune(good)
    one.finish(good, [5.0])
    bad, _ = one.ask()
    one.report_rungs(bad, 21, 4.0)  # another batch size: another number of validations
    assert one.should_prune(bad)
    one.prune(bad, "worse")
    assert states(one) == ["COMPLETE", "PRUNED"]


def test_a_grid_is_walked_through_once_by_all_processes(tmp_path: Path):
    space = Space([Axis("a", "choice", choices=("x", "y")), Axis("b", "int", low=1, high=2)])
    two = [Study(tmp_path, settings(sampler="grid", n_trials=None), space, {}) for _ in range(2)]
    points = [two[index % 2].ask() for index in range(5)]
    assert points[4] is None
    assert [tuple(point.values()) for _, point in points[:4]] == [
        *(("x", 1), ("x", 2), ("y", 1), ("y", 2))
    ]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc", "nsga2"])
def test_every_sampler_finds_better_points_than_the_worst(study, sampler: str):
    space = Space([Axis("x", "float", low=-4, high=4), Axis("y", "float", low=-4, high=4)])
    options = {"n_startup_trials": 4} if sampler in ("tpe", "gp") else {}
    one = study(space, sampler=sampler, sampler_options=options, n_trials=14)
    values = []
    while (asked := one.ask()) is not None:
        number, point = asked
        values.append(-((point["x"] - 1) ** 2) - (point["y"] + 2) ** 2)
        one.finish(number, [values[-1]])
    assert len({round(value, 9) for value in values}) == 14
    assert best_trials(one.trials(), [BLEU])[0].values == [max(values)]


@pytest.mark.parametrize("pruner", ["percentile", "successive_halving", "hyperband"])
def test_every_pruner_lets_the_best_go_on(study, pruner: str):
    one = study(pruner=pruner, rung_tokens=1, n_trials=9)
    pruned = []
    for quality in (5.0, 1.0, 4.0, 2.0, 3.0, 0.5, 0.4, 0.3, 9.0):
        number, _ = one.ask()
        for rung in range(1, 10):
            one.report_rungs(number, rung, quality)
            if one.should_prune(number):
                one.prune(number, "worse")
                pruned.append(quality)
                break
        else:
            one.finish(number, [quality])
    assert pruned
    assert 9.0 not in pruned


def test_wilcoxon_prunes_over_seeds(study):
    seeds = list(range(8))
    one = study(pruner="wilcoxon", seeds=seeds, pruner_options={"p_threshold": 0.1})
    for quality in (5.0, 1.0):
        number, _ = one.ask()
        for step in seeds:
            one.report(number, step, quality + 0.1 * (step % 3))
            if one.should_prune(number):
                break
        else:
            one.finish(number, [quality])
            continue
        assert quality == 1.0
        assert 2 <= step < 7
        return
    raise AssertionError("nothing was pruned")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": Space([SPACE.axes[0]])}, "model was choice.tiny, small., and is not varied"),
        ({"objectives": [LOSS]}, r"the objective was val/bleu \(max\), and is val/loss \(min\)"),
        ({"seeds": [1, 2]}, r"sweep.seeds was None, and is \[1, 2\]"),
        ({"fixed": {"seed": 2}}, "seed was 1, and is 2"),
    ],
)
def test_another_search_does_not_go_on_with_a_study(study, change: dict[str, Any], said: str):
    study()
    with pytest.raises(UserError, match=said):
        study(**change)


def test_several_objectives_have_trade_offs(study):
    both = [BLEU, LOSS]
    one = study(objectives=both, pruner="median")
    for values in ([10.0, 3.0], [12.0, 5.0], [9.0, 4.0], [12.0, 4.0]):
        number, _ = one.ask()
        assert not one.should_prune(number)
        one.finish(number, values)
    assert [trial.number for trial in best_trials(one.trials(), both)] == [0, 3]


def test_trials_without_improvement_are_counted_in_the_order_they_ended(study):
    one = study()
    for value in (1.0, 3.0, 2.0, 3.0):
        number, _ = one.ask()
        one.finish(number, [value])
    assert stale_trials(one.trials(), [BLEU]) == 2


def test_values_of_a_record():
    assert values_of({"val/loss": 1.5, "val/bleu": 2}, [BLEU, LOSS]) == [2.0, 1.5]
    with pytest.raises(UserError, match="val/bleu is not logged; did you mean 'val/blue'"):
        values_of({"val/blue": 1.0}, [BLEU])
    with pytest.raises(ValueError, match="val/loss is nan"):
        values_of({"val/loss": "nan"}, [LOSS])


def test_objectives_are_validation_scores_with_their_usual_modes():
    found = read_objectives(["val/loss", "val/chrf"], None, monitor="val/bleu", mode="max")
    assert found == [LOSS, Objective("val/chrf", "max")]
    assert read_objectives(None, None, monitor="val/x", mode="min") == [Objective("val/x", "min")]
    with pytest.raises(UserError, match=r"but has 'test/bleu'; try val/bleu"):
        read_objectives(["test/bleu"], None, monitor="val/bleu", mode="max")
    with pytest.raises(UserError, match="sweep.modes must be min or max for each"):
        read_objectives(["val/a"], ["up"], monitor="val/bleu", mode="max")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"sampler": "tpee"}, "sweep.sampler must be one of .* did you mean 'tpe'"),
        ({"sampler_options": {"n_start_trials": 3}}, "did you mean 'n_startup_trials'"),
        ({"pruner": "wilcoxon"}, "compares trials seed by seed"),
        ({"n_trials": 0}, "sweep.n_trials must be a whole number of at least 1 or null"),
        ({"n_trials": True}, "sweep.n_trials must be a whole number"),
        ({"jobs": None}, "sweep.jobs must be a whole number of at least 1, but is None"),
        ({"study_name": "../x"}, "sweep.study_name must be a plain folder name"),
        ({"n_trials": None}, "a search must end"),
        ({"ntrials": 3}, "sweep.ntrials is not a key of the config; did you mean"),
        ({"sampler": "cmaes", "objectives": ["val/a", "val/b"]}, "takes one objective"),
        ({"seeds": [1, 1]}, "sweep.seeds must be different numbers"),
    ],
)
def test_wrong_settings(node: dict[str, Any], said: str):
    given = {"study_name": "s", "n_trials": 3, **node}
    with pytest.raises(UserError, match=said):
        Settings.read(given, monitor="val/bleu", mode="max", seed=1)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cmaes" else found(name)
    )
    with pytest.raises(UserError, match=r"needs the package cmaes.*heed-nlp\[sweeps\]"):
        Settings.read(
            {"study_name": "s", "n_trials": 1, "sampler": "cmaes"},
            monitor="val/bleu",
            mode="max",
            seed=1,
        )


def test_a_storage_that_goes_away_says_so(study, tmp_path: Path):
    one = study()
    one.ask()
    (tmp_path / "journal.log").unlink()
    with pytest.raises(RunFailed, match=r"(?s)journal.log is gone.*the same command goes on"):
        one.ask()
    assert not (tmp_path / "journal.log").exists()
