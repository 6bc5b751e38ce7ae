"""`heed list`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heed import cli
from heed.commands.compose import config_dir


def listed(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["list", *words.split()]) == 0
    return capsys.readouterr().out


def test_everything_is_listed_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    shown = listed("", capsys)
    for path in config_dir().glob("*/*.yaml"):
        if path.parent.name in ("paths", "hydra") or path.name.startswith("_"):
            continue
        first, second = path.read_text(encoding="utf-8").splitlines()[:2]
        line = second if "@package" in first else first
        assert line.removeprefix("# ") in shown
    groups = [line.split()[0] for line in shown.splitlines() if line and line[0] != " "]
    assert groups[:4] == ["task", "data", "tokenizer", "optimizer"]  # as in train.yaml
    assert "_defaults" not in shown


def test_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    shown = listed("model", capsys).splitlines()
    assert shown[0] == "model  (* by default)"
    found = sorted(path.stem for path in config_dir().glob("model/*.yaml"))
    names = [line.split()[0] for line in shown[1:] if line[2] != " "]
    assert [name.removesuffix("*") for name in names] == found
    assert [name for name in names if name.endswith("*")] == ["tiny*"]


def test_several_groups_and_plurals(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed("models tasks", capsys) == (
        listed("model", capsys) + "\n" + listed("task", capsys)
    )


def test_an_unknown_group_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "dta"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no config group 'dta'; did you mean 'data'?\n"
    )


def test_the_users_configs_are_listed_too(
    user_configs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = user_configs(
        {
            "data/mine": "# Letters of mine.\nname: mine\n",
            "model/tiny": "# A tiny one of mine.\n",
            "colour/red": "# Red.\n",
            "colour/_parts": "# Not a choice.\n",
        }
    )
    shown = listed(f"--config-dir {mine}", capsys)
    assert "Letters of mine." in shown
    assert "A tiny one of mine." in shown
    assert "learns the built-in corpora" not in shown  # the user's of the same name wins
    assert shown.endswith("colour\n  red  Red.\n")
