"""The space of a search: its axes, conditions, corners and grid."""

from __future__ import annotations

import pytest

from heed.errors import UserError
from heed.sweeps.space import Axis, Condition, Space, read_conditions

LR = Axis("optimizer.lr", "float", low=1e-5, high=1e-3, log=True)
ATTENTION = Axis("model.attention", "choice", choices=("full", "windowed", "none"))
WINDOW = Axis(
    "model.window", "int", low=2, high=8, step=3, when=Condition("model.attention", ("windowed",))
)
LAYERS = Axis("model.n_layers", "int", low=1, high=2)


def test_a_conditional_axis_counts_only_where_its_condition_holds():
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    space = Space([WINDOW, LR, ATTENTION])  # the condition's axis comes later here
    points = [space.suggest(study.ask()) for _ in range(40)]
    assert {point["model.attention"] for point in points} == {"full", "windowed", "none"}
    for point in points:
        assert ("model.window" in point) == (point["model.attention"] == "windowed")
        assert 1e-5 <= float(point["optimizer.lr"]) <= 1e-3
    assert {p["model.window"] for p in points if "model.window" in p} == {2, 5, 8}


def test_the_grid_has_each_point_once_and_no_idle_axis():
    points = Space([LAYERS, WINDOW, ATTENTION]).grid()
    assert len(points) == 2 * (2 + 3)
    assert len({str(point) for point in points}) == len(points)
    assert {"model.n_layers": 2, "model.attention": "windowed", "model.window": 8} in points
    assert all("model.window" not in p for p in points if p["model.attention"] == "full")
    with pytest.raises(UserError, match=r"optimizer.lr is tag\(log, interval\(1e-05, 0.001\)\)"):
        Space([LR]).grid()


def test_corners_show_every_choice_and_both_ends():
    corners = Space([LR, ATTENTION, WINDOW]).corners()
    for key, wanted in {
        "optimizer.lr": {1e-5, 1e-3},
        "model.attention": {"full", "windowed", "none"},
        "model.window": {2, 8},
    }.items():
        assert {point[key] for point in corners if key in point} == wanted
    assert all(("model.window" in p) == (p["model.attention"] == "windowed") for p in corners)


def test_words_of_a_point_are_overrides():
    words = Space([LR, ATTENTION]).words({"optimizer.lr": 2.5e-4, "model.attention": "full"})
    assert words == ["optimizer.lr=0.00025", "model.attention=full"]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ([Axis("a", "float", low=2, high=1)], "the interval of a must not be empty"),
        ([Axis("a", "float", low=0, high=1, log=True)], "a must begin above 0 for tag"),
        ([Axis("a", "choice")], "a must have values to choose from"),
        ([Axis("a", "float", low=0, high=float("inf"))], "must lie between finite numbers"),
        ([LR, LR], "optimizer.lr must be varied once"),
    ],
)
def test_wrong_axes(axes: list[Axis], said: str):
    with pytest.raises(UserError, match=said):
        Space(axes)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            {"model.window": "model.atention=full"},
            "must name another varied key, but names model.atention",
        ),
        ({"model.window": "model.attention=ful"}, "but 'ful' is none; did you mean 'full'"),
        ({"model.window": "full"}, "must be KEY=VALUE"),
        ({"model.widow": "model.attention=full"}, "sweep.when names model.widow, which is not"),
        ({"model.window": "optimizer.lr=1"}, "must name a choice, but optimizer.lr is tag"),
        (
            {"model.window": "model.attention=full", "model.attention": "model.window=2"},
            "must not go in a circle",
        ),
    ],
)
def test_wrong_conditions(when: dict[str, str], said: str):
    axes = [LR, ATTENTION, Axis("model.window", "int", low=2, high=8, step=3)]
    with pytest.raises(UserError, match=said):
        Space(read_conditions(when, axes))
