"""The cheap dropout of the CPU drops as often as it says, and keeps the mean exactly."""

from __future__ import annotations

import pytest
import torch

from heed.backbone.dropout import Dropout, add_dropout, dropout, random_bytes


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.999])
def test_the_share_that_is_dropped(p: float) -> None:
    torch.manual_seed(1)
    x = torch.ones(1009, 1013)
    y = dropout(x, p, training=True)
    share = (y == 0).float().mean().item()
    standard_error = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(share - p) < 0.002 + 4 * standard_error


def test_kept_elements_are_scaled_by_the_rounded_probability() -> None:
    """0.1 rounds to 26 of 256 bytes; so 256 / 230 keeps the mean."""
    torch.manual_seed(1)
    y = dropout(torch.ones(503, 509), 0.1, training=True)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 256 / 230]))
    assert abs(y.mean().item() - 1.0) < 0.003


def test_bytes_are_even() -> None:
    torch.manual_seed(1)
    counts = torch.bincount(random_bytes(torch.Size((1021, 1019))).flatten().long(), minlength=256)
    expected = 1021 * 1019 / 256
    chi_square = ((counts - expected).square() / expected).sum().item()
    assert 150 < chi_square < 370  # 255 degrees of freedom: mean 255, standard deviation 23


def test_the_seed_decides() -> None:
    x = torch.ones(37, 41)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(dropout(x, 0.5, training=True))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_gradients_pass_where_elements_were_kept() -> None:
    torch.manual_seed(1)
    x = torch.randn(31, 37, requires_grad=True)
    y = dropout(x, 0.3, training=True)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / x.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_residual_sum_is_x_plus_what_dropout_gives(dtype: torch.dtype) -> None:
    x = torch.randn(29, 31)
    y = torch.randn(29, 31, dtype=dtype)
    torch.manual_seed(1)
    expected = x + dropout(y, 0.4, training=True)
    torch.manual_seed(1)
    torch.testing.assert_close(add_dropout(x, y, 0.4, training=True), expected)


def test_nothing_is_dropped_outside_training_or_with_p_zero() -> None:
    x = torch.randn(7, 11)
    assert Dropout(p=0.5).eval()(x) is x
    assert Dropout(p=0.0)(x) is x
    assert torch.equal(Dropout(p=0.5).eval().add(x, x), 2 * x)
