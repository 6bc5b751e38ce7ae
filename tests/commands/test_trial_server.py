"""Trials side by side see GPUs of their own."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from heed.commands.trial_server import use_devices
from heed.errors import UserError

ONE: dict[str, Any] = {"accelerator": "gpu", "devices": 1, "strategy": "auto"}
TWO: dict[str, Any] = {"accelerator": "gpu", "devices": 2, "strategy": "ddp"}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine with four GPUs, of which the environment names some or nothing."""

    def make(named: str | None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named or "")
        if named is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    return make


@pytest.mark.parametrize(
    ("named", "trainer", "slot", "seen"),
    [
        (None, ONE, 0, "0"),
        (None, ONE, 1, "1"),
        (None, TWO, 1, "2,3"),
        ("3,1", ONE, 1, "1"),
        ("GPU-a,GPU-b", ONE, 0, "GPU-a"),
    ],
)
def test_each_place_has_its_own(gpus, named, trainer, slot: int, seen: str):
    gpus(named)
    use_devices(slot, 2, trainer)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_more_trials_than_gpus_are_refused(gpus):
    gpus("0,1,2")
    with pytest.raises(UserError, match=r"2 trials with 2 GPUs each need 4, but there are 3"):
        use_devices(0, 2, TWO)


def test_trials_on_the_cpu_are_left_alone(gpus):
    gpus(None)
    use_devices(1, 8, {**ONE, "accelerator": "cpu"})
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
