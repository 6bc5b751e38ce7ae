"""Kernels for short packed rows against the definition, by Triton's interpreter.

On a GPU itself they are checked and timed by `benchmarks/segment_attention.py`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heed.backbone.packed import Packed, Segments
from heed.backbone.segment_attention import can_segment, plan

CASES = Path(__file__).parent / "segment_cases.py"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
def test_outputs_and_gradients_are_those_of_the_definition() -> None:
    surroundings = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(CASES)], env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("agrees") == 11


@pytest.mark.parametrize(
    ("lengths", "width", "itemsize", "tiles"),
    [
        ((5, 17), 64, 2, (16, 32)),
        ((32, 33), 64, 2, (32, 64)),
        ((100, 100), 64, 2, (64, 64)),
        ((100, 3), 64, 4, (32, 16)),
        ((100, 100), 256, 2, (16, 16)),
        ((0, 1), 16, 4, (16, 16)),
    ],
)
def test_tiles_hold_short_rows_whole_and_are_not_too_large(
    lengths: tuple[int, int], width: int, itemsize: int, tiles: tuple[int, int]
) -> None:
    assert plan(*lengths, width, itemsize)[:2] == tiles


def test_where_they_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.zeros(1, 2, 7, 64)
    assert not can_segment(x, x, x)  # a CPU
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not can_segment(x, x, x.double())
    assert not can_segment(*(3 * [x[..., :40]]))


def test_torch_knows_the_shapes_while_it_compiles() -> None:
    """Nothing is computed here: tensors have no numbers."""
    layout = Packed.of(torch.tensor([3, 4]), 9)
    segments = Segments(layout, layout)
    assert segments.queries.offsets.dtype == torch.int32
    parts = [torch.empty(9, n, 16, device="meta") for n in (4, 4)]
    lie = (layout.offsets.to("meta"), layout.offsets.to("meta"), 2, 4, 4, 4, True)
    output, log_sums = torch.ops.heed.segment_attention(parts, *lie)
    assert output.shape == (9, 4, 16)
    assert log_sums.shape == (4, 9)
    gradients = torch.ops.heed.segment_attention_backward(output, parts, output, log_sums, *lie)
    assert [x.shape for x in gradients] == [x.shape for x in parts]
