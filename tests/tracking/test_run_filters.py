"""Conditions, orders and the best of runs."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from heed.errors import UserError
from heed.tracking.digest import Digest
from heed.tracking.run_filters import best_runs, check_keys, make_filter, sort_runs, split_word


def run(name: str, *, task: str = "sentiment", **facts: Any) -> Digest:
    config = {"optimizer.lr": facts.pop("lr", 0.001), "choices.model": facts.pop("model", "tiny")}
    config |= {"choices.logger": ["csv", "wandb"], "trainer.deterministic": True, "data.path": None}
    return Digest(
        f"/x/{name}", "done", task=task, name=name, config_text=json.dumps(config), **facts
    )


RUNS = [
    run(
        "a", seed=1, lr=1e-4, metrics={"val/accuracy": 80.0, "test/accuracy": 70.0, "val/loss": 2.0}
    ),
    run("b", seed=2, lr=1e-3, metrics={"val/accuracy": 90.0, "val/loss": 1.0}, model="small"),
    run("c", seed=None, lr=1e-2, metrics={"val/accuracy": float("nan"), "val/loss": 3.0}),
    run("d", task="qa", seed=2, metrics={"val/f1": 10.0}, model="small"),
]


def chosen(*words: str) -> str:
    filters = []
    for word in words:
        parts = split_word(word)
        assert parts is not None
        filters.append(make_filter(*parts))
    return "".join(one.name for one in RUNS if all(f.matches(one) for f in filters))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["task=sentiment"], "abc"),
        (["task!=sentiment"], "d"),
        (["task=sent*", "model=tiny"], "ac"),
        (["seed=1"], "a"),
        (["seed=1,2"], "abd"),
        (["seed!=1,2"], "c"),
        (["seed=null"], "c"),
        (["seed!=null"], "abd"),
        (["optimizer.lr=1e-3"], "bd"),
        (["optimizer.lr=0.0010"], "bd"),
        (["optimizer.lr>1e-4"], "bcd"),
        (["optimizer.lr>=1e-4", "optimizer.lr<1e-2"], "abd"),
        (["val/accuracy>=80"], "ab"),
        (["val/accuracy<80"], ""),
        (["accuracy<=70"], "a"),  # that of the test comes first
        (["accuracy>70"], "b"),
        (["logger=wandb"], "abcd"),
        (["logger=mlflow"], ""),
        (["trainer.deterministic=true"], "abcd"),
        (["trainer.deterministic=1"], ""),
        (["data.path=null"], "abcd"),
        (["name<=3"], ""),
    ],
)
def test_conditions(words: list[str], names: str) -> None:
    assert chosen(*words) == names


def test_the_age_counts_from_the_end() -> None:
    def stamp(days: float) -> str:
        return (datetime.now(timezone.utc) - timedelta(days=days)).isoformat(timespec="seconds")

    old = run("old", started=stamp(90), ended=stamp(40))
    fresh = run("fresh", started=stamp(50), ended=stamp(2.5))
    at_work = run("at work", started=stamp(1))
    unknown = run("unknown", started="some day")
    filters = [make_filter("age_days", ">", "30"), make_filter("age_days", "<", "2")]
    found = [
        [one.name for one in (old, fresh, at_work, unknown) if f.matches(one)] for f in filters
    ]
    assert found == [["old"], ["at work"]]
    assert fresh.age_days == pytest.approx(2.5, abs=0.01)


def test_a_size_must_be_a_number() -> None:
    with pytest.raises(UserError, match="name> must be followed by a number, but 'abc' is none"):
        make_filter("name", ">", "abc")
    assert split_word("outputs/sentiment") is None


def test_a_key_of_no_run_is_refused_with_the_nearest() -> None:
    check_keys(["optimizer.lr", "val/f1", "model", "f1", "status"], RUNS)
    with pytest.raises(
        UserError, match="'optimizer.lrr' is a key of none of the 4 runs; did you mean"
    ):
        check_keys(["optimizer.lrr"], RUNS)
    with pytest.raises(UserError, match="did you mean 'limit'"):
        check_keys(["limt"], RUNS, commands=["limit"])
    check_keys(["anything"], [Digest("/x", "broken", "why")])


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("val/accuracy", "bacd"),
        ("-val/accuracy", "abcd"),
        ("val/loss", "bacd"),
        ("-val/loss", "cabd"),
        ("optimizer.lr", "abdc"),
        ("-optimizer.lr", "cbda"),
        ("name", "abcd"),
        ("-name", "dcba"),
        ("seed", "abdc"),
    ],
)
def test_orders(key: str, names: str) -> None:
    assert "".join(one.name for one in sort_runs(RUNS, key)) == names


def test_the_monitored_score_is_better_as_its_mode_says() -> None:
    runs = [
        run(str(value), metrics={"val/distance": value}, monitor="val/distance", mode="min")
        for value in (2.0, 1.0, 3.0)
    ]
    assert [one.score for one in sort_runs(runs, "val/distance")] == [1.0, 2.0, 3.0]
    assert [one.score for one in sort_runs(runs, "score")] == [1.0, 2.0, 3.0]


def test_the_best_of_each_task() -> None:
    assert [one.name for one in best_runs(RUNS, "val/accuracy")] == ["b"]
    assert [one.name for one in best_runs(RUNS, "val/loss")] == ["b"]
    assert [one.name for one in best_runs(RUNS, "optimizer.lr")] == ["a", "d"]
    assert best_runs(RUNS[2:3], "val/accuracy") == []
