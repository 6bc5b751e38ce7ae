"""NumPy's global random state, kept and put back at every training batch without its price.

`numpy.random.get_state` and `set_state` take 80 microseconds each, a third of what Heed does around
a step, though hardly a training draws from NumPy. Whether anything did shows in the generator's
memory, which is compared in less than one.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

KEY_BYTES = 624 * 4 + 4  # of a Mersenne twister: its words, and the place among them
HAS_GAUSS = 3  # in the tuple that get_state gives


class NumpyStream:
    """Knows the state that it has last seen, and takes it again where nothing was drawn since.

    A normal variate may come from a second one that was kept when the first was drawn, and leave
    no trace in memory. So a state that keeps one is never taken to be unchanged.
    """

    def __init__(self) -> None:
        self._state: Any = None
        self._memory: bytes | None = None

    def take(self) -> tuple[Any, ...]:
        """What `numpy.random.get_state()` gives."""
        memory = _memory()
        if memory is None or memory != self._memory:
            self._state, self._memory = np.random.get_state(), memory
            if self._state[HAS_GAUSS]:
                self._memory = None
        return self._state

    def put(self, state: tuple[Any, ...]) -> None:
        """What `numpy.random.set_state(state)` does."""
        if state is self._state and self._memory is not None and self._memory == _memory():
            return
        np.random.set_state(state)
        self._state, self._memory = state, None if state[HAS_GAUSS] else _memory()


def _memory() -> bytes | None:
    """The generator's state as it lies in memory; None for one that is not NumPy's usual."""
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(generator) is not np.random.MT19937:
        return None
    return ctypes.string_at(generator.ctypes.state_address, KEY_BYTES)
