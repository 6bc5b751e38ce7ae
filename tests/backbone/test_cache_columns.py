"""What a cache keeps, against plain concatenation and indexing.

Legend: N rows, G heads, T positions, K head width.
"""

from __future__ import annotations

import torch

from heed.backbone.cache_columns import FIRST_ROOM, Columns

N, G, K = 3, 2, 5


def test_columns_equal_concatenation_and_indexing() -> None:
    generator = torch.Generator().manual_seed(0)
    columns, expected = Columns(), torch.empty(N, G, 0, K)
    orders = [[0, 0, 1, 1, 2, 2], [5, 3, 1, 0, 0, 2], [1, 4], [1, 0], [0], [0, 0, 0, 0, 0, 0, 0]]
    rows = N
    for width, order in zip([4, 1, FIRST_ROOM, 1, 1, 3 * FIRST_ROOM], orders, strict=True):
        new = torch.randn(rows, G, width, K, generator=generator)
        expected = torch.cat((expected, new), 2)
        assert torch.equal(columns.append(new), expected)
        chosen = torch.tensor(order)
        columns.reorder(chosen)
        expected, rows = expected[chosen], len(order)
        assert columns.tensor is not None
        assert torch.equal(columns.tensor, expected)


def test_steps_use_the_same_memory_again() -> None:
    columns = Columns()
    places = set()
    for step in range(FIRST_ROOM):
        columns.append(torch.full((N, G, 1, K), float(step)))
        columns.reorder(torch.tensor([1, 2, 0]))
        assert columns.tensor is not None
        places.add(columns.tensor.untyped_storage().data_ptr())
    assert len(places) == 2


def test_gradients_reach_what_was_written() -> None:
    columns, first = Columns(), torch.ones(N, G, 1, K, requires_grad=True)
    columns.append(first)
    columns.reorder(torch.tensor([0, 0]))
    columns.append(torch.ones(2, G, 1, K) * first[:2]).sum().backward()
    assert first.grad is not None
    assert first.grad[:, 0, 0, 0].tolist() == [3.0, 1.0, 0.0]  # twice kept and once new
