"""A process killed while it saves, at any moment: there is always a good checkpoint."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from heed.training.asynchronous_io import AsynchronousCheckpointIO
from heed.training.checkpoint_io import (
    RESUMABLE,
    AtomicCheckpointIO,
    checkpoints_in,
    clear_leftovers,
    resumable_step,
    verify_checkpoint,
)
from heed.training.sharded_checkpoint import save_sharded

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
KILLS = 25


def content(step):
    state = {name: {} for name in RESUMABLE}
    return {**state, "global_step": step, "state_dict": {"weight": torch.full((317, 331), step)}}


def save_files(folder, first, io):
    last = folder / "last.ckpt"
    io.previous[last] = folder / "previous.ckpt"
    for step in range(first, first + 10**6):
        io.save_checkpoint(content(step), folder / "best.ckpt")
        io.link(folder / "best.ckpt", last)


def save_at_once(folder, first):
    save_files(folder, first, AtomicCheckpointIO())


def save_behind(folder, first):
    save_files(folder, first, AsynchronousCheckpointIO())


def save_shards(folder, first):
    for step in range(first, first + 10**6):
        save_sharded(content(step), folder / "last.ckpt", previous=folder / "previous.ckpt")


def in_a_process(action, *arguments):
    """A fork that does something until it is killed; no interpreter has to start."""
    process = os.fork()
    if process == 0:
        try:
            action(*arguments)
        finally:
            os._exit(1)
    return process


def seconds_of_a_save(folder):
    start = time.perf_counter()
    for step in range(3):
        AtomicCheckpointIO().save_checkpoint(content(step), folder / "a.ckpt")
    shutil.rmtree(folder)
    return (time.perf_counter() - start) / 3


@pytest.mark.parametrize("save", [save_at_once, save_behind, save_shards])
def test_there_is_always_a_good_checkpoint(save, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    draw = random.Random(3)
    reached, last = 0, tmp_path / "last.ckpt"
    seconds = seconds_of_a_save(tmp_path / "measured")
    for _ in range(KILLS):
        process = in_a_process(save, Path(tmp_path), reached + 1)
        had_last = last.exists()
        end = time.monotonic() + 60
        while not checkpoints_in(tmp_path) and time.monotonic() < end:
            time.sleep(0.001)  # before the first save there is nothing to lose
        time.sleep(draw.uniform(0.0, 0.05 + 5 * seconds))
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "it ended by itself"
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        good = [path for path in checkpoints_in(tmp_path) if verify_checkpoint(path) is None]
        assert len(good) == len(checkpoints_in(tmp_path)), "a visible file is whole"
        if save is not save_shards and had_last:
            assert last in good, "a file is replaced in one step"
        step = max(resumable_step(path) for path in good)
        assert step >= reached, "nothing that was saved is lost"
        reached = step
        clear_leftovers(tmp_path)
        assert len(list(tmp_path.iterdir())) <= 3
    torch.set_num_threads(threads)
    assert reached > 3, "saves went on after kills"
