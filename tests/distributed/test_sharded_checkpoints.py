"""A checkpoint folder that two processes write, read by two and by one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heed.training.checkpoint_io import load_checkpoint

pytestmark = pytest.mark.learning  # starts processes
PROCESS = Path(__file__).with_name("sharded_process.py")


def test_two_processes_write_and_any_number_reads(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, os.fspath(PROCESS), os.fspath(tmp_path)],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "last.ckpt could not be written" in out
    files = sorted(os.listdir(tmp_path / "last.ckpt"))
    assert files == [".metadata", "SHA256SUMS", "__0_0.distcp", "__1_0.distcp", "rest.ckpt"]
    whole = load_checkpoint(tmp_path / "last.ckpt")
    assert torch.equal(whole["state_dict"]["sharded"], torch.arange(13.0, 48.0).view(7, 5))
    assert load_checkpoint(tmp_path / "previous.ckpt")["global_step"] == 11
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
