"""A run's frozen config with some keys changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.amend import amend, set_value
from heed.commands.resume import resumed_config
from heed.errors import UserError, UserErrors

Frozen = Callable[..., dict[str, Any]]


def test_one_key_changes_and_the_config_given_stays(frozen: Frozen) -> None:
    config = frozen()
    changed = amend(config, ["decoding.beam_size=9"])
    assert changed["decoding"]["beam_size"] == 9
    assert config == frozen()
    assert {k for k in config if config[k] != changed[k]} == {"decoding"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("optimizer.lr=1e-4", 1e-4),
        ("optimizer.lr=3", 3),
        ("trainer.max_time=1:00:00:00", "1:00:00:00"),  # a number, to YAML 1.1
        ("trainer.deterministic=true", True),
        ("data.labels=[no,yes]", ["no", "yes"]),  # truth values, to YAML 1.1
        ("data.path=null", None),
        ("data.path='a b'", "a b"),
        ("data.path=~/texts", str(Path("~/texts").expanduser())),
    ],
)
def test_values_are_read_as_when_composing(frozen: Frozen, word: str, value: Any) -> None:
    changed = amend(frozen(), [word])
    group, name = word.partition("=")[0].split(".")
    assert changed[group][name] == value
    assert type(changed[group][name]) is type(value)


def test_what_follows_a_key_changes_with_it(frozen: Frozen) -> None:
    config = frozen("data=local", "data.path=/somewhere")
    assert config["data"]["source"]["path"] == "/somewhere"
    changed = amend(config, ["data.path=/elsewhere"])
    assert changed["data"]["source"]["path"] == "/elsewhere"


def test_what_was_set_by_itself_follows_nothing(frozen: Frozen) -> None:
    config = frozen("data=local", "data.path=/somewhere", "data.source.path=/fixed")
    assert amend(config, ["data.path=/elsewhere"])["data"]["source"]["path"] == "/fixed"


def test_a_group_is_composed_with_the_runs_other_choices(frozen: Frozen) -> None:
    config = frozen("task=sentiment", "model=small", "optimizer.lr=0.5")
    changed = amend(config, ["data=local", "data.path=/texts", "data.max_tokens=77"])
    assert changed["data"]["kind"] == "labelled_text"
    assert changed["data"]["source"]["path"] == "/texts"
    assert changed["data"]["max_tokens"] == 77
    assert (changed["choices"]["data"], changed["choices"]["model"]) == ("local", "small")
    assert changed["optimizer"]["lr"] == 0.5
    again = amend(changed, ["data.path=/others"])
    assert again["data"]["source"]["path"] == "/others"


def test_columns_may_be_new(frozen: Frozen) -> None:
    config = frozen()
    changed = amend(
        config, ["data.columns.source=en", "data.split_columns.test={target: summary1}"]
    )
    assert changed["data"]["columns"] == {"source": "en"}
    assert changed["data"]["split_columns"] == {"test": {"target": "summary1"}}
    set_value(changed, "data.split_columns.train.source=text")
    assert changed["data"]["split_columns"]["train"] == {"source": "text"}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("decoding.beam_sise=3", "decoding.beam_sise is not a key .* 'decoding.beam_size'"),
        ("splt=test", r"splt is not a key of the run's config; did you mean 'split'\?"),
        ("nonsense.of.all.kinds=1", "is not a key of the run's config; --cfg shows all its keys"),
        ("beam", "an override must be key=value, but is 'beam'"),
        ("decoding.beam_size=1,2", "decoding.beam_size must have one value"),
        ("data.path=[", r"data\.path"),
        ("decoding=bean", "did you mean 'beam'"),
    ],
)
def test_a_mistake_is_named(frozen: Frozen, word: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        amend(frozen(), [word], own=["split", "run"])


# What may be changed when a run goes on -----------------------------------------------------------


def test_the_words_that_began_a_run_may_be_said_again(frozen: Frozen) -> None:
    words = ["task=sentiment", "model=small", "optimizer.lr=0.5", "logger=[csv]", "seed=3"]
    words += ["experiment=null"]
    config, changes = resumed_config(frozen(*words), [*words, "resume=latest"])
    assert changes == []
    assert config == frozen(*words)


def test_length_and_logging_may_change(frozen: Frozen) -> None:
    config, changes = resumed_config(frozen(), ["trainer.max_epochs=77", "seed=42"])
    assert changes == ["trainer.max_epochs=77"]
    assert config["trainer"]["max_epochs"] == 77


@pytest.mark.parametrize("word", ["model=small", "optimizer.lr=0.5", "seed=1", "data.max_tokens=9"])
def test_what_was_learned_may_not_change(frozen: Frozen, word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(UserError, match=rf"in which {key} cannot be changed.*start a new run"):
        resumed_config(frozen(), [word])


def test_mistakes_stay_together(frozen: Frozen) -> None:
    with pytest.raises(UserErrors):
        amend(frozen(), ["model=smal", "data=nome"])
