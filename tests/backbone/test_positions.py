"""Positions: the paper's waves, learned tables with an end, rotations that see distances."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from heed.backbone.frequencies import rotary_frequencies
from heed.backbone.positions import (
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    halved_sinusoidal_table,
    rotate,
    sinusoidal_table,
)
from heed.errors import UserError


@pytest.mark.parametrize("d_model", [6, 7])
def test_the_waves_are_the_papers(d_model: int) -> None:
    table = sinusoidal_table(13, d_model)
    for position in range(13):
        for column in range(d_model):
            angle = position / 10000 ** (2 * (column // 2) / d_model)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert table[position, column].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("d_model", [6, 7])
def test_the_halved_table_has_the_same_waves(d_model: int) -> None:
    table = sinusoidal_table(13, d_model)
    halves = torch.cat((table[:, 0::2], table[:, 1::2]), dim=1)
    torch.testing.assert_close(halved_sinusoidal_table(13, d_model), halves, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make_table", [sinusoidal_table, halved_sinusoidal_table])
def test_waves_grow_with_the_row(make_table: Callable[[int, int], torch.Tensor]) -> None:
    positions = SinusoidalPositions(max_length=5, d_model=6, make_table=make_table)
    expected = make_table(17, 6)
    assert torch.equal(positions(torch.arange(17), 17), expected)
    assert torch.equal(positions(torch.arange(3), 3), expected[:3])


def test_learned_positions_end() -> None:
    positions = LearnedPositions(max_length=5, d_model=6)
    assert positions(torch.arange(5), 5).shape == (5, 6)
    with pytest.raises(UserError, match=r"model\.max_length \(5\) tokens .* but is 7"):
        positions(torch.arange(7), 7)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(1)
    rotary = RotaryPositions(frequencies=rotary_frequencies(10, 10000.0))
    query, key = torch.randn(2, 1, 1, 1, 10)

    def product(query_at: int, key_at: int) -> float:
        q = rotate(query, rotary(torch.tensor([query_at])))
        k = rotate(key, rotary(torch.tensor([key_at])))
        return (q * k).sum().item()

    assert product(3, 1) == pytest.approx(product(19, 17), abs=1e-5)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-2)
    assert product(0, 0) == pytest.approx((query * key).sum().item(), abs=1e-6)


def test_each_row_may_have_its_own_positions() -> None:
    torch.manual_seed(1)
    rotary = RotaryPositions(frequencies=rotary_frequencies(6, 10000.0))
    x = torch.randn(2, 3, 5, 6)
    shared = rotate(x, rotary(torch.arange(5) + 2))
    own = rotate(x, rotary(torch.stack((torch.arange(5) + 2, torch.arange(5)))))
    assert torch.equal(own[0], shared[0])
    assert torch.equal(own[1], rotate(x, rotary(torch.arange(5)))[1])
