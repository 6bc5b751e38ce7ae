"""The kernels of norms, losses and ReLU of compiled steps; on a GPU `benchmarks/packed_step.py`
times them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from heed.backbone.linear_relu import linear_relu
from heed.backbone.norm_operator import Tiles, can_normalize
from heed.heads.loss_operator import has_loss_kernels

CASES = Path(__file__).parent / "norm_cases.py"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
def test_outputs_and_gradients_are_those_of_torch() -> None:
    surroundings = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(CASES)], env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" agree") == 5


@pytest.mark.parametrize(
    ("columns", "tiles"),
    [
        (1, (8, 8, 1)),
        (48, (64, 8, 1)),
        (512, (512, 4, 4)),
        (768, (1024, 2, 4)),
        (8192, (8192, 1, 8)),
    ],
)
def test_a_tile_holds_whole_rows(columns: int, tiles: tuple[int, int, int]) -> None:
    assert Tiles.of(columns) == tiles


def test_where_they_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not can_normalize(torch.zeros(3, 48))  # a CPU
    assert not has_loss_kernels(torch.zeros(3, 2048))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not can_normalize(torch.zeros(3, 48).double())
    assert not can_normalize(torch.zeros(3, 48), torch.zeros(48))
    assert not can_normalize(torch.zeros(3, 8193))
    assert not has_loss_kernels(torch.zeros(3, 7))


def test_torch_knows_the_shapes_while_it_compiles() -> None:
    """Nothing is computed here: tensors have no numbers."""
    x, y = torch.empty(2, 9, 48, device="meta"), torch.empty(2, 9, 48, device="meta").half()
    weight, seed = torch.empty(48, device="meta"), torch.empty(1, dtype=torch.long, device="meta")
    output, total, means, scales = torch.ops.heed.norm(
        x, y, weight, None, seed, 100, 1e-5, True, False
    )
    assert output.shape == total.shape == (2, 9, 48)
    assert means.shape == scales.shape == (2, 9)
    of_x, of_y, sums = torch.ops.heed.norm_backward(
        output, total, weight, means, scales, seed, 100, x.dtype, y.dtype
    )
    assert (of_x.dtype, of_y.dtype, sums.shape) == (torch.float32, torch.float16, (2, 48))
    losses, log_sums = torch.ops.heed.token_losses(x[0], seed.expand(9), seed.expand(9) > 0, 0.1)
    assert losses.shape == log_sums.shape == (9,)


def test_a_linear_layer_and_its_relu_are_one() -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*size) for size in ((2, 7, 5), (6, 5), (6,)))
    given = [t.requires_grad_() for t in (x, weight, bias)]
    gradient = torch.randn(2, 7, 6)
    ours, theirs = linear_relu(*given), F.linear(*given).relu()
    assert torch.equal(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours, given, gradient),
        torch.autograd.grad(theirs, given, gradient),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        half = linear_relu(*given)
    assert half.dtype == torch.bfloat16
    assert [g.dtype for g in torch.autograd.grad(half.sum(), given)] == 3 * [torch.float32]
