"""`heed verify-resume`: what it trains, and that it tells runs apart that are not the same."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from heed.commands.arguments import Arguments
from heed.commands.compose import compose
from heed.commands.rules import validate
from heed.commands.run_comparison import Difference
from heed.commands.verify_resume import (
    CheckFailed,
    batch_to_die_in,
    report,
    words_of_the_check,
)
from heed.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"max_steps": 12, "val_check_interval": 6, "limit_val_batches": 2}),
        (["trainer.max_steps=101"], {"max_steps": 101, "val_check_interval": 50}),
        (["trainer.max_epochs=2"], {"max_steps": 12, "max_epochs": 2}),
        (["trainer.accumulate_grad_batches=3"], {"val_check_interval": 18}),
        (["trainer.limit_val_batches=7", "logger=wandb"], {"limit_val_batches": 7}),
    ],
)
def test_the_users_words_are_kept_and_the_rest_is_short(given, expected):
    config = compose("train", words_of_the_check(Arguments(overrides=given)))
    validate(config)
    assert {key: config["trainer"][key] for key in expected} == expected
    assert list(config["logger"]) == ["csv"]
    assert config["callbacks"]["trace"]["enabled"] is True
    assert config["callbacks"]["last"]["every_n_train_steps"] >= 1


@pytest.mark.parametrize("word", ["resume=latest", "paths.run_dir=here"])
def test_it_makes_runs_of_its_own(word):
    with pytest.raises(UserError, match="makes new runs of its own, but here is"):
        words_of_the_check(Arguments(overrides=[word]))
    with pytest.raises(UserError, match="has no -m"):
        words_of_the_check(Arguments(multirun=True))


def test_it_dies_after_a_save_and_before_the_end():
    lines = [{"step": step} for step in (0, 1, 1, 2, 2, 3, 3, 4)]
    words = ["callbacks.last.every_n_train_steps=2"]
    assert {batch_to_die_in(lines, words) for _ in range(100)} == {7, 8}
    assert batch_to_die_in(lines, ["callbacks.last.every_n_train_steps=3"]) == 8
    with pytest.raises(CheckFailed, match="saved after 9 steps, but training ended after 4"):
        batch_to_die_in(lines, ["callbacks.last.every_n_train_steps=9"])


def test_the_first_difference_is_told_first(tmp_path):
    said = report([Difference("a", "line 1", "x 1 / 2"), Difference("b", "c", "d")], tmp_path)
    assert said.splitlines()[:3] == [
        "does NOT resume exactly (uninterrupted / resumed)",
        "first difference  a, line 1: x 1 / 2",
        "then              b, c: d",
    ]
    assert "trainer.deterministic=true" in said
    assert said.endswith(f"both runs are kept in {tmp_path}")


# Where noise comes from that no checkpoint knows.
NOISE = """
    import random

    from lightning.pytorch.callbacks import Callback


    class Noise(Callback):
        def on_train_batch_start(self, trainer, module, *args) -> None:
            weight = next(module.parameters()).data
            weight[..., 0] += 1e-3 * random.SystemRandom().random()
"""


def verify(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heed", "verify-resume", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{_source()}:{tmp_path}"},
    )


def _source() -> str:
    import heed

    return str(Path(heed.__file__).parents[1])


@pytest.mark.learning
@pytest.mark.parametrize(
    "more",
    [["task=translation"], ["task=sentiment", "trainer=ddp", "trainer.accelerator=cpu"]],
)
def test_a_run_that_resumes_exactly(tiny, tmp_path, more):
    devices = ["trainer.devices=2"] if "trainer=ddp" in more else []
    words = [word for word in tiny if word not in ("trainer.max_steps=3", "trainer=cpu")]
    done = verify(tmp_path, *words, "data.max_tokens=600", *more, *devices)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumes exactly: nothing differs" in done.stdout
    assert "compared  12 batches" in done.stdout
    assert not list(tmp_path.glob("heed-verify-resume-*"))


@pytest.mark.learning
def test_a_run_that_does_not(tiny, tmp_path):
    (tmp_path / "noise.py").write_text(textwrap.dedent(NOISE))
    done = verify(
        tmp_path, *tiny, "data.max_tokens=600", "task=sentiment", "trainer.max_steps=8",
        "+callbacks.noise._target_=noise.Noise",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "does NOT resume exactly" in done.stdout
    assert "first difference  trace-rank-0.jsonl, line 1 (step 1, epoch 0, batch 1): loss" in (
        done.stdout
    )
    (kept,) = tmp_path.glob("heed-verify-resume-*")
    assert {"uninterrupted", "resumed"} <= {path.name for path in kept.iterdir()}
