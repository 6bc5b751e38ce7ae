"""The command `heed`: verbs, exit codes, and what it does not import."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from heed import __version__, cli
from heed.errors import UserError, UserErrors


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    """Puts a function behind `heed trial ...`."""

    def add(main: Callable[[list[str]], int]) -> None:
        module = types.ModuleType("heed.commands.trial")
        module.main = main  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "heed.commands.trial", module)
        monkeypatch.setitem(cli.VERBS, "trial", ("trial", "a verb of this test"))

    return add


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def main(argv: list[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    for name, (_, line) in cli.VERBS.items():
        assert name in shown
        assert line in shown


@pytest.mark.parametrize("verb_name", ["train", "check", "list"])
@pytest.mark.parametrize("form", ["{} --help", "help {}", "{} -h"])
def test_each_verb_has_help(verb_name: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(form.format(verb_name).split())
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: heed {verb_name}" in shown
    assert "--config-dir DIR" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"heed {__version__}\n"


def test_an_unknown_verb_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: heed has no command 'trian'; did you mean 'train'?\n"
    assert shown.out == ""


def test_a_verb_gets_the_words_after_it_and_gives_the_exit_code(verb: Callable) -> None:
    got: list[str] = []

    def main(argv: list[str]) -> int:
        got.extend(argv)
        return 5

    verb(main)
    assert cli.main(["trial", "a=1", "--traceback", "-m"]) == 5
    assert got == ["a=1", "-m"]


def test_each_mistake_has_its_line_and_no_traceback(
    verb: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(UserErrors([UserError("a must be 1", "try a=1"), UserError("b is missing")])))
    assert cli.main(["trial"]) == 2
    assert capsys.readouterr().err == "error: a must be 1; try a=1\nerror: b is missing\n"


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_traceback_of_a_mistake_is_shown_when_asked_for(
    by: str, verb: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(raising(UserError("a must be 1")))
    words = ["trial"]
    if by == "option":
        words.append("--traceback")
    else:
        monkeypatch.setenv("HEED_TRACEBACK", "1")
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith("error: a must be 1\n")


def test_a_defect_keeps_its_traceback(verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    verb(raising(RuntimeError("boom")))
    assert cli.main(["trial"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "RuntimeError: boom" in shown
    assert shown.splitlines()[-1].startswith("error: heed failed with RuntimeError")


def test_ctrl_c_ends_with_130(verb: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    verb(raising(KeyboardInterrupt()))
    assert cli.main(["trial"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_verb_that_was_stopped_and_has_saved_says_its_own_code(verb: Callable) -> None:
    verb(raising(SystemExit(143)))
    with pytest.raises(SystemExit) as exit:
        cli.main(["trial"])
    assert exit.value.code == 143


def test_a_full_disk_is_said_in_one_line(
    verb: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/last.ckpt")))
    assert cli.main(["trial"]) == 1
    assert capsys.readouterr().err == (
        "error: there is no space left on the disk while writing runs/last.ckpt; "
        "free some, or write elsewhere\n"
    )


def test_a_broken_pipe_that_is_not_our_output_is_a_defect(
    verb: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(BrokenPipeError("a socket")))
    assert cli.main(["trial"]) == 1
    assert "BrokenPipeError" in capsys.readouterr().err


def test_a_reader_that_goes_away_leaves_no_noise() -> None:
    """`heed list | head -1`, with a pipe that is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "heed", "list"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert process.stderr == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("train --help", 0),
        ("list", 0),
        ("list data", 0),
        ("train model=smal optimizer.lrr=1", 2),
        ("train model.n_heads=7 data=squad", 2),
        ("check trainer.max_steps=0", 2),
        ("train --cfg", 0),
    ],
)
def test_what_needs_no_torch_does_not_import_it(words: str, code: int, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from heed.cli import main\n"
        "try:\n"
        "    code = main(sys.argv[1:])\n"
        "except SystemExit as exit:\n"
        "    code = exit.code\n"
        "heavy = {'torch', 'lightning', 'datasets', 'transformers', 'tokenizers', 'wandb'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *words.split()], capture_output=True, cwd=tmp_path, text=True
    )
    assert process.returncode == code, process.stderr
    assert not list(tmp_path.iterdir())  # and nothing is written
