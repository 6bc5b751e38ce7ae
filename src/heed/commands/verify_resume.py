"""`heed verify-resume`: does a run that is killed and resumed do what it would have done?"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.compose import compose
from heed.commands.rules import validate
from heed.commands.run_comparison import Difference, compare_runs, compared
from heed.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER, UserError
from heed.tracking.folder import CHECKPOINTS

USAGE = """\
usage: heed verify-resume [key=value ...]

Show that a training resumes exactly. Trains a few steps of the config that the words describe,
then the same again in a process that kills itself (SIGKILL) in the middle of a batch, resumes it,
and compares the two: batches, losses, gradients, logged numbers, weights, optimizer, random
generators, place in the data, best checkpoint and predictions, to the last bit.

  heed verify-resume                                   the default run
  heed verify-resume task=sentiment trainer=ddp        any task, model, data and trainer
  heed verify-resume trainer.max_steps=100             more steps than the usual 12

Exit code 0 if nothing differs, 1 with the first difference if something does; both runs are kept
then. Nothing is written elsewhere, but to the cache of prepared data.
"""

STEPS = 12
KILL = "callbacks.kill_for_the_check"
_TARGET = "heed.training.callbacks.kill.Kill"
_LAST_LINES = 15
HINT = """\
Usual causes:
  - operations of a GPU that are not deterministic: try trainer.deterministic=true
  - random numbers drawn outside torch, numpy and random, or in the workers that read data
  - state of a task or callback of your own that its state_dict() does not hold"""


class Attempt(NamedTuple):
    """How one of the trainings ended.

    Attributes:
        code: Exit code; minus the signal that ended it.
        log: What it said.
        seconds: How long it took.
    """

    code: int
    log: Path
    seconds: float


class CheckFailed(Exception):
    """One of the trainings did not end as it was to; the message says how."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


def main(argv: list[str]) -> int:
    """Run `heed verify-resume` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    words = words_of_the_check(arguments)
    config = compose("train", words, arguments.config_dir)
    validate(config, arguments.config_dir)
    folder = Path(tempfile.mkdtemp(prefix="heed-verify-resume-"))
    try:
        differences = check(words, arguments, folder)
    except CheckFailed as failure:
        print(f"{failure}\nkept in {folder}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        return EXIT_INTERRUPTED
    if differences:
        print(report(differences, folder))
        return EXIT_FAILED
    print("resumes exactly: nothing differs")
    shutil.rmtree(folder, ignore_errors=True)
    return EXIT_DONE


def words_of_the_check(arguments: Arguments) -> list[str]:
    """The user's words, and what makes their training short, well recorded and often saved.

    Raises:
        UserError: If the words ask for something else than one new training.
    """
    given = arguments.overrides
    if arguments.multirun:
        raise UserError("heed verify-resume checks one config, and has no -m", "call it for each")
    for word in given:
        if word.startswith(("resume=", "paths.run_dir=")):
            raise UserError(
                f"heed verify-resume makes new runs of its own, but here is {word}",
                "leave it out; the words are those of heed train",
            )
    values = dict(word.lstrip("+").partition("=")[::2] for word in given)
    steps = _number(values.get("trainer.max_steps"), STEPS)
    accumulated = _number(values.get("trainer.accumulate_grad_batches"), 1)
    fallbacks = {
        "trainer.max_steps": steps,
        "trainer.max_epochs": -1,
        "trainer.val_check_interval": max(1, steps * accumulated // 2),
        "trainer.limit_val_batches": 2,
        "trainer.limit_test_batches": 2,
        "trainer.log_every_n_steps": max(1, steps // 6),
        "callbacks.last.every_n_train_steps": max(1, steps // 4),
    }
    return [
        *given,
        *(f"{key}={value}" for key, value in fallbacks.items() if key not in values),
        "logger=csv",
        "callbacks.trace.enabled=true",
    ]


def _number(word: str | None, otherwise: int) -> int:
    try:
        number = int(word or "")
    except ValueError:
        return otherwise
    return number if number > 0 else otherwise


def check(words: list[str], arguments: Arguments, folder: Path) -> list[Difference]:
    """Train, train and kill, resume; returns where the two runs differ.

    Raises:
        CheckFailed: If one of the three did not end as it was to.
    """
    from heed.training.callbacks.trace import read_trace, trace_path

    options = ["--config-dir", str(arguments.config_dir)] if arguments.config_dir else []
    whole, cut = folder / "uninterrupted", folder / "resumed"

    _say("1/3  training without a break")
    _done(_train([*options, *words, f"paths.run_dir={whole}"], folder / "1.log"), 0)
    lines = read_trace(trace_path(whole, 0))

    batch = batch_to_die_in(lines, words)
    _say(f"2/3  the same, killed in batch {batch} of {len(lines)}")
    deadly = [f"+{KILL}._target_={_TARGET}", f"+{KILL}.batch={batch}"]
    _done(
        _train([*options, *words, *deadly, f"paths.run_dir={cut}"], folder / "2.log"),
        -signal.SIGKILL,
    )
    _say(f"3/3  resumed after step {_saved_step(cut)}")
    _done(_train([*options, f"resume={cut}", f"{KILL}=null"], folder / "3.log"), 0)

    counts = compared(whole)
    print(
        f"compared  {counts['batches']} batches (rows, tokens, loss, gradient norm), "
        f"{counts['logged rows']} logged rows, {counts['values']:,} values of the last checkpoint "
        "(weights, optimizer, schedule, random generators, place, callbacks), the best checkpoint, "
        "predictions"
    )
    return compare_runs(whole, cut)


def batch_to_die_in(lines: list[dict[str, Any]], words: list[str]) -> int:
    """A random batch after the first save, counted from 1."""
    values = dict(word.partition("=")[::2] for word in words)
    saved = _number(values["callbacks.last.every_n_train_steps"], 1)
    after = [number for number, line in enumerate(lines, start=1) if line["step"] > saved]
    if not after:
        raise CheckFailed(
            f"a checkpoint is saved after {saved} steps, but training ended after "
            f"{lines[-1]['step'] if lines else 0}; give a larger trainer.max_steps"
        )
    # the first of these may still belong to the step that was saved
    return random.SystemRandom().choice(after[1:] or after)


def report(differences: list[Difference], folder: Path) -> str:
    """What to tell of runs that differ."""
    first, *others = map(str, differences)
    lines = ["does NOT resume exactly (uninterrupted / resumed)", f"first difference  {first}"]
    lines += [f"then              {other}" for other in others]
    return "\n".join([*lines, HINT, f"both runs are kept in {folder}"])


def _train(words: list[str], log: Path) -> Attempt:
    """Run `heed train` in a process of its own."""
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "heed", "train", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return Attempt(code, log, time.monotonic() - began)


def _say(what: str) -> None:
    print(f"{what:<50}", end="", flush=True)


def _done(attempt: Attempt, expected: int) -> None:
    print(f"{attempt.seconds:5.0f} s", flush=True)
    if attempt.code == expected:
        return
    said = attempt.log.read_text(encoding="utf-8", errors="replace").splitlines()
    raise CheckFailed(
        "\n".join([*said[-_LAST_LINES:], f"this training ended with exit code {attempt.code}"]),
        EXIT_USER if attempt.code == EXIT_USER else EXIT_FAILED,
    )


def _saved_step(run: Path) -> int:
    from heed.training.checkpoint_io import load_checkpoint

    return int(load_checkpoint(run / CHECKPOINTS / "last.ckpt")["global_step"])
