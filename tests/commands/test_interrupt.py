"""Ctrl-C and SIGTERM: what is saved, what is said, and that going on loses nothing."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# A callback that does what a person or a scheduler would do, at a chosen step.
POKE = """
    import signal

    from lightning.pytorch.callbacks import Callback


    class Poke(Callback):
        def __init__(self, *, at: int, name: str, times: int) -> None:
            self.at, self.signal, self.times = at, getattr(signal, name), times
            if at == 0:
                signal.raise_signal(self.signal)

        def on_train_batch_end(self, trainer, *args) -> None:
            if trainer.global_step == self.at:
                for _ in range(self.times):
                    signal.raise_signal(self.signal)
"""
CALLBACKS = """
    defaults: [default]
    poke: {_target_: poke.Poke, at: 2, name: SIGINT, times: 1}
"""


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Where tests run in the background of a shell, Ctrl-C is switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def poked(heed: Callable[..., Any], tiny: list[str], tmp_path: Path) -> Callable[..., Any]:
    """Trains five steps in `tmp_path`, with a signal on the way."""
    (tmp_path / "poke.py").write_text(textwrap.dedent(POKE))
    configs = tmp_path / "conf" / "callbacks"
    configs.mkdir(parents=True)
    (configs / "poked.yaml").write_text(textwrap.dedent(CALLBACKS))

    def train(*words: str) -> Any:
        sys.modules.pop("poke", None)
        return heed(
            *("train", "--config-dir", "conf", "callbacks=poked", *tiny),
            *("trainer.max_steps=5", "data.max_tokens=600", *words),
            where=tmp_path,
        )

    return train


def test_ctrl_c_saves_and_going_on_loses_nothing(
    poked: Callable[..., Any],
    heed: Callable[..., Any],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
    weights: Callable[..., dict[str, Any]],
) -> None:
    answer = poked("paths.output_dir=stopped")
    assert answer.code == 130
    run = only_run(tmp_path / "stopped")
    shown = run.relative_to(tmp_path)
    assert "Stopping after this step, and saving" not in answer.out
    assert f"Stopped. Go on with:  heed train resume={shown}\n" in answer.err
    fields = record(run)
    assert (fields["status"], fields["reason"]) == ("interrupted", "interrupted from the keyboard")
    assert 2 <= fields["steps"] < 5
    assert "train/loss" in fields["metrics"]

    answer = heed("train", "resume=latest", "paths.output_dir=stopped", where=tmp_path)
    assert answer.code == 0, answer.err
    assert poked("paths.output_dir=whole", "callbacks.poke.at=99").code == 0
    whole = only_run(tmp_path / "whole")
    one, other = weights(run), weights(whole)
    assert list(one) == list(other)
    assert all(one[name].equal(other[name]) for name in one)
    resumed, expected = _losses(run), _losses(whole)
    assert resumed == expected  # with the line of the step that was stopped after
    assert (run / "predictions" / "test.jsonl").read_bytes() == (
        whole / "predictions" / "test.jsonl"
    ).read_bytes()
    fields = record(run)
    assert (fields["status"], fields["steps"], len(fields["sessions"])) == ("done", 5, 1)
    assert fields["metrics"]["test/loss"] == record(whole)["metrics"]["test/loss"]


def _losses(run: Path) -> dict[str, str]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["step"]: row["train/loss"] for row in rows if row["train/loss"]}


def test_sigterm_saves_too(
    poked: Callable[..., Any],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    answer = poked("callbacks.poke.name=SIGTERM")
    assert answer.code == 143
    run = only_run(tmp_path / "outputs")
    assert record(run)["status"] == "stopped"
    assert record(run)["reason"] == "asked to stop (SIGTERM)"
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_a_second_ctrl_c_stops_at_once(
    poked: Callable[..., Any],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    answer = poked("callbacks.poke.times=2")
    assert answer.code == 130
    run = only_run(tmp_path / "outputs")
    assert f"Stopped before there was a checkpoint; {run.relative_to(tmp_path)} can be deleted" in (
        answer.err
    )
    assert record(run)["status"] == "interrupted"
    assert not list(run.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("name", "code", "status"), [("SIGTERM", 143, "stopped"), ("SIGINT", 130, "interrupted")]
)
def test_a_signal_before_training_is_recorded(
    name: str,
    code: int,
    status: str,
    poked: Callable[..., Any],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    answer = poked("callbacks.poke.at=0", f"callbacks.poke.name={name}")
    assert answer.code == code
    assert record(only_run(tmp_path / "outputs"))["status"] == status
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_of_its_own(
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    words = [*tiny, "task=sentiment", "trainer.max_steps=100000", "trainer.max_epochs=-1"]
    with subprocess.Popen(
        [sys.executable, "-m", "heed", "train", *words, "trainer.val_check_interval=2"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = threading.Timer(300, process.kill)
        guard.start()
        assert process.stderr is not None
        said = process.stderr.readline()
        while said and "validation" not in said:
            said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait()
        guard.cancel()
    assert code == 130, rest
    assert "Stopping after this step, and saving. Ctrl-C again stops at once." in rest
    run = only_run(tmp_path)
    assert f"Stopped. Go on with:  heed train resume={run.relative_to(tmp_path)}" in rest
    assert record(run)["status"] == "interrupted"
    assert (run / "checkpoints" / "last.ckpt").is_file()
