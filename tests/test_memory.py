"""What a process knows of its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from heed.memory import peak_bytes

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count each process by itself")
def test_a_peak_is_the_process_own() -> None:
    """A process of little memory, started by one of much, has had little."""
    held = bytearray(b"x") * (300 * MIB)
    asked = [sys.executable, "-c", "from heed.memory import peak_bytes; print(peak_bytes())"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert len(held) < peak_bytes()
    assert 5 * MIB < int(told) < 150 * MIB
