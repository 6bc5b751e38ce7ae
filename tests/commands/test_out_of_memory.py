"""Memory that runs out: what is said, and that the run can be gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.commands.out_of_memory import allocator_words
from heed.memory import gigabytes, host_memory, is_out_of_memory
from heed.tasks.sentiment import Sentiment
from heed.tasks.translation import Translation

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 60354560 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of "
    "which 1.21 GiB is free."
)
ERRORS = [RuntimeError(CPU), torch.OutOfMemoryError(CUDA), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_are_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), ValueError("out of memory")])
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_allocators_are_told_in_short() -> None:
    words = [allocator_words(error) for error in ERRORS]
    assert words == [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 60354560 bytes",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MemoryError",
    ]


def test_the_host_has_memory() -> None:
    memory = host_memory()
    assert 2**28 < memory.available < memory.total
    assert gigabytes(3.5 * 2**30) == "3.5 GiB"
    assert gigabytes(200 * 2**20) == "200 MiB"


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fails(Sentiment, "loss", after=2)`: the method runs out of memory in its third call."""

    def arrange(
        task: Any, method: str, error: Exception, *, after: int = 0, training: bool = True
    ) -> None:
        before = getattr(task, method)
        calls = 0

        def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if self.training == training:
                calls += 1
                if calls > after:
                    raise error
            return before(self, *args, **kwargs)

        monkeypatch.setattr(task, method, failing)

    return arrange


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_training_step(
    error: Exception,
    fails: Callable[..., None],
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    fails(Sentiment, "loss", error, after=2)
    words = ["task=sentiment", "data.max_tokens=310", "trainer.accumulate_grad_batches=1"]
    words += ["callbacks.last.every_n_train_steps=1", f"paths.output_dir={tmp_path}"]
    answer = heed("train", *tiny, *words)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert "error: out of memory in a training step of " in answer.err
    assert "token positions with padding (step 3): " in answer.err
    assert "data.max_tokens=155 trainer.accumulate_grad_batches=2" in answer.err
    assert "trainer.auto_batch=true" in answer.err
    run = only_run(tmp_path)
    assert f"heed train resume={run} trainer=ddp trainer.devices=2" in answer.err
    fields = record(run)
    assert fields["status"] == "failed"
    assert fields["reason"].startswith("out of memory in a training step")
    assert (run / "checkpoints/last.ckpt").is_file()


def test_validation_can_be_made_smaller_when_the_run_goes_on(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
) -> None:
    words = ["task=translation", "data.eval_max_tokens=302", f"paths.output_dir={tmp_path}"]
    words += ["callbacks.last.every_n_train_steps=1", "trainer.val_check_interval=2"]
    with pytest.MonkeyPatch.context() as patch:

        def failing(self: Any, batch: Any, *, stage: str) -> Any:
            raise MemoryError

        patch.setattr(Translation, "predict_batch", failing)
        answer = heed("train", *tiny, *words)
    assert answer.code == 1
    assert "out of memory in validation, decoding of " in answer.err
    run = only_run(tmp_path)
    command = f"heed train resume={run} data.eval_max_tokens=151"
    assert f"smaller batches, same scores:  {command}" in answer.err
    assert heed(*command.split()[1:]).code == 0


def test_evaluate_and_predict(
    heed: Callable[..., Any], run_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder("translation")

    def failing(self: Any, batch: Any, *, stage: str) -> Any:
        raise RuntimeError(CPU)

    def failing_together(self: Any, batches: Iterator[Any]) -> Any:
        next(batches)
        raise RuntimeError(CPU)

    monkeypatch.setattr(Translation, "predict_batch", failing)
    monkeypatch.setattr(Translation, "predict_batches", failing_together)
    words = ["data.eval_max_tokens=402", "decoding=beam", "decoding.beam_size=6"]
    answer = heed("evaluate", f"run={run}", *words)
    assert answer.code == 1
    assert "heed evaluate run=" in answer.err
    assert "data.eval_max_tokens=201" in answer.err
    assert "decoding.beam_size=3" in answer.err
    answer = heed("predict", f"run={run}", *words, typed="a cat\n")
    assert answer.code == 1
    assert "out of memory in prediction, decoding of 1 rows" in answer.err


@pytest.mark.learning
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_real_limit(tiny: list[str], tmp_path: Path) -> None:
    """`ulimit -v`: torch's allocator fails in the first step, and the command says so."""
    words = ["train", *tiny, "data.max_tokens=200000", "data.source.train_size=12000"]
    words += ["model.d_model=256", f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path}/c"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 3500000; exec "$@"', "-", sys.executable, "-m", "heed", *words],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: out of memory in a training step of " in done.stderr
    assert "data.max_tokens=100000 trainer.accumulate_grad_batches=2" in done.stderr
    assert "Traceback" not in done.stderr
