"""Configs composed once, runs trained once, and `heed` called in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heed.commands.compose import compose
from heed.errors import UserError, UserErrors


@pytest.fixture(scope="session")
def _composed() -> dict[str, dict[str, Any]]:
    return {}


@pytest.fixture
def frozen(_composed: dict[str, dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`frozen("task=qa")` is the config of `heed train task=qa`."""

    def make(*overrides: str) -> dict[str, Any]:
        key = " ".join(overrides)
        if key not in _composed:
            _composed[key] = compose("train", list(overrides))
        return copy.deepcopy(_composed[key])

    return make


@pytest.fixture
def told() -> Callable[..., list[str]]:
    """`told(function, ...)` are the mistakes that a call tells, one string each."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
        try:
            function(*args, **kwargs)
        except UserErrors as errors:
            return [str(error) for error in errors.errors]
        except UserError as error:
            return [str(error)]
        return []

    return call


@pytest.fixture
def user_configs(tmp_path: Path) -> Callable[..., Path]:
    """Writes {"group/name": yaml} into a folder for --config-dir."""

    def write(files: dict[str, str]) -> Path:
        folder = tmp_path / "my_configs"
        for name, text in files.items():
            path = folder / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write


# Runs trained in this process ---------------------------------------------------------------------

# As small as a run can be; what it learns is of no matter.
TINY = [
    *("model.d_model=16", "model.n_heads=2", "model.d_feed_forward=24", "model.n_layers=1"),
    *("tokenizer.vocabulary_size=300", "data.max_tokens=1500", "logger=csv"),
    *("trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=3"),
    *("trainer.log_every_n_steps=1", "decoding=greedy", "decoding.max_length=7"),
]
SIZES = ["data.source.train_size=61", "data.source.validation_size=11", "data.source.test_size=13"]


class Answer(NamedTuple):
    """What a call of `heed` gave back."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Overrides of a run on the built-in corpus that takes a second."""
    return [*TINY, *SIZES]


@pytest.fixture(scope="session")
def tiny_model() -> list[str]:
    """The same without the data."""
    return list(TINY)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the shared runs are; what a test writes goes into its own `tmp_path`."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="session")
def heed(place: Path) -> Callable[..., Answer]:
    """`heed("train", "seed=1")` does what the command would, standing in the folder `place`."""

    def call(*words: str, typed: str | bytes = "", where: Path | None = None) -> Answer:
        from heed.cli import main

        out, err = io.StringIO(), io.StringIO()
        piped = typed.encode() if isinstance(typed, str) else typed
        before, stdin = Path.cwd(), sys.stdin
        argv, sys.argv = sys.argv, ["heed", *words]
        sys.stdin = io.TextIOWrapper(io.BytesIO(piped))
        os.chdir(where or place)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = main(list(words))
                except SystemExit as stopped:
                    code = int(stopped.code or 0)
        finally:
            os.chdir(before)
            sys.stdin, sys.argv = stdin, argv
        return Answer(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def trained(
    heed: Callable[..., Answer], place: Path, tiny: list[str]
) -> Callable[..., tuple[Path, Answer]]:
    """`trained("sentiment")` is the folder of a run, trained once a session, and what it said."""
    runs: dict[str, tuple[Path, Answer]] = {}

    def get(task: str) -> tuple[Path, Answer]:
        if task not in runs:
            answer = heed("train", f"task={task}", "name=shared", *tiny)
            assert answer.code == 0, answer.err + answer.out
            (folder,) = (place / "outputs" / task / "shared").iterdir()
            runs[task] = (folder, answer)
        return runs[task]

    return get


@pytest.fixture(scope="session")
def run_folder(trained: Callable[..., tuple[Path, Answer]]) -> Callable[[str], Path]:
    """`run_folder("qa")` is the folder of a trained run."""
    return lambda task: trained(task)[0]


@pytest.fixture(scope="session")
def record() -> Callable[[Path], dict[str, Any]]:
    """The content of a run's run.json."""

    def read(run: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return found

    return read


@pytest.fixture(scope="session")
def only_run() -> Callable[[Path], Path]:
    """The one run folder under an output folder."""

    def find(root: Path) -> Path:
        (found,) = root.rglob("run.json")
        return found.parent

    return find


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, Any]]:
    """The tensors of a run's last checkpoint."""

    def read(run: Path) -> dict[str, Any]:
        import torch

        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        found: dict[str, Any] = checkpoint["state_dict"]
        return found

    return read


@pytest.fixture
def lines() -> Callable[[Path], list[dict[str, Any]]]:
    """The objects of a jsonl file."""
    return lambda path: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
