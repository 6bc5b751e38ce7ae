"""What went into two runs, and what of it can make their numbers differ."""

from __future__ import annotations

import pytest

from heed.tracking.ingredients import Change, ingredient_changes, same, with_effect
from heed.tracking.saved_run import SavedRun

FIELDS = {
    "code": {"heed": {"commit": "aaa", "diff": "code.diff", "untracked": []}},
    "data": {"train": {"rows": 5, "fingerprint": "f"}, "labels": ["no", "yes"]},
    "tokenizer": {"fingerprint": "t"},
    "versions": {"torch": "2.6", "numpy": "2.0"},
    "platform": {"python": "3.11.7", "host": "one"},
    "hardware": {"cpu": "x", "memory_gib": 8.0},
    "computing": {"threads": 2},
    "lineage": {},
}


@pytest.fixture
def make(tmp_path):
    def make(name, *, config=None, diff="+1\n", **fields):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "code.diff").write_text(diff)
        return SavedRun(folder, {**FIELDS, **fields}, config or {"seed": 1})

    return make


def test_nothing_differs(make):
    assert not any(ingredient_changes(make("a"), make("b")).values())


@pytest.mark.parametrize(
    ("ingredient", "changed", "name"),
    [
        ("versions", {"versions": {"torch": "2.7", "numpy": "2.0"}}, "torch"),
        ("platform", {"platform": {"python": "3.12.0", "host": "one"}}, "python"),
        ("hardware", {"hardware": {"cpu": "y", "memory_gib": 8.0}}, "cpu"),
        ("computing", {"computing": {"threads": 4}}, "threads"),
        ("tokenizer", {"tokenizer": {"fingerprint": "u"}}, "fingerprint"),
        ("data", {"data": {**FIELDS["data"], "labels": ["yes", "no"]}}, "labels"),
        ("data", {"data": {**FIELDS["data"], "train": {"rows": 6}}}, "train fingerprint"),
        ("code", {"code": {"heed": {"commit": "bbb", "diff": "code.diff"}}}, "heed commit"),
        ("code", {"diff": "+2\n"}, "heed changes since the commit"),
        ("init_from", {"lineage": {"init_from": {"run": "r", "sha256": "5"}}}, "sha256"),
        ("init_from", {"lineage": {"pretrained": {"name": "n", "sha256": "5"}}}, "sha256"),
        ("config", {"config": {"seed": 2}}, "seed"),
        ("config", {"config": {"seed": True}}, "seed"),
    ],
)
def test_each_ingredient_tells(make, ingredient, changed, name):
    found = with_effect(ingredient_changes(make("a"), make("b", **changed)))
    assert list(found) == [ingredient]
    assert name in [change.name for change in found[ingredient]]


@pytest.mark.parametrize(
    "changed",
    [
        {"platform": {"python": "3.11.7", "host": "other"}},
        {"hardware": {"cpu": "x", "memory_gib": 9.0}},
        {"config": {"seed": 1, "name": "n"}},
        {"config": {"seed": 1, "logger": {"csv": {"a": 1}}}},
        {"config": {"seed": 1, "data": {"path": "elsewhere"}}},
    ],
)
def test_what_no_number_comes_from(make, changed):
    changes = ingredient_changes(make("a"), make("b", **changed))
    assert any(changes.values())
    assert with_effect(changes) == {}


def test_the_folder_of_a_run_is_no_difference(make):
    one = make("a", config={"seed": 1, "paths": {"run_dir": "x"}})
    other = make("b", config={"seed": 1, "paths": {"run_dir": "y"}})
    assert ingredient_changes(one, other)["config"] == []


def test_a_record_of_an_older_version_tells_nothing_of_what_it_lacks(make):
    assert ingredient_changes(make("a", computing={}), make("b"))["computing"] == []


def test_a_value_that_one_has_not(make):
    found = ingredient_changes(make("a", versions={"torch": "2.6"}), make("b"))
    assert found["versions"] == [Change("numpy", "none", "2.0")]


def test_a_truth_value_is_no_number():
    assert same(1, 1.0)
    assert not same(1, True)


def test_where_the_weights_lay_is_no_ingredient(make):
    known = {"checkpoint": "a.ckpt", "sha256": "5"}
    one = make("a", lineage={"init_from": {**known, "run": "r", "place": "../r"}})
    other = make("b", lineage={"init_from": {**known, "run": "s", "place": "../../s"}})
    assert not with_effect(ingredient_changes(one, other))
