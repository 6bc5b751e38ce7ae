"""Memory that was freed stays with the process, so that the next step need not ask for it again.

glibc returns large blocks to the system when they are freed, and every page of the next one costs a
fault when it is first touched. A training step frees and asks for the same large blocks each time.
"""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # <malloc.h>
MOST = 2**31 - 1  # of an int: free bytes at the end of the heap before they are returned


def keep_freed_memory() -> bool:
    """From now on, blocks come from the heap, whose end is kept. (A threshold for blocks of their
    own will not do: glibc accepts none above 32 MiB.)

    Returns:
        Whether it was done; it is on Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, MOST))
