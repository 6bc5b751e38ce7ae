"""NumPy's random state, kept cheaply, is the one that NumPy itself would give."""

from __future__ import annotations

import numpy as np
import pytest

from heed.training.numpy_stream import NumpyStream


@pytest.fixture(autouse=True)
def _put_back():
    before = np.random.get_state()
    yield
    np.random.set_state(before)


def same(one, other) -> bool:
    return one[0] == other[0] and (one[1] == other[1]).all() and tuple(one[2:]) == tuple(other[2:])


@pytest.mark.parametrize("draws", [0, 1, 2, 3, 700])
@pytest.mark.parametrize("kind", ["random", "normal"])
def test_what_is_drawn_between_leaves_no_trace(kind: str, draws: int):
    stream = NumpyStream()
    np.random.seed(3)
    np.random.normal()  # keeps a second one
    for _ in range(3):
        state = stream.take()
        assert same(state, np.random.get_state())
        for _ in range(draws):
            getattr(np.random, kind)()
        stream.put(state)
        assert same(state, np.random.get_state())
        for _ in range(draws):
            getattr(np.random, kind)()
        assert same(stream.take(), np.random.get_state())


def test_a_state_that_has_not_moved_is_not_read_again(monkeypatch: pytest.MonkeyPatch):
    stream = NumpyStream()
    np.random.seed(3)
    state = stream.take()
    monkeypatch.setattr(np.random, "get_state", lambda: pytest.fail("read"))
    monkeypatch.setattr(np.random, "set_state", lambda state: pytest.fail("written"))
    assert stream.take() is state
    stream.put(state)
