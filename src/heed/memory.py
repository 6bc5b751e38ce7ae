"""Memory: how much there is, how much is free for this process, and whether it has run out.

Imports no torch, so that a failure can be told before, and after, it was loaded.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import psutil

GIB = 2**30
# How allocators say that there is no more, beside errors with a class of their own.
WORDS = (
    "can't allocate memory",  # torch on a CPU
    "not enough memory: you tried to allocate",  # the same on Windows
    "out of memory",  # CUDA, MPS, cuBLAS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
)


class Memory(NamedTuple):
    """Bytes of a device.

    Attributes:
        total: What there is, or what this process may have of it.
        available: What is still free for this process.
    """

    total: int
    available: int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or on the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error) for word in WORDS)


def host_memory() -> Memory:
    """Memory of this machine, within what its control group and `ulimit -v` allow this process."""
    machine = psutil.virtual_memory()
    limits = [Memory(machine.total, machine.available)]
    limits += [limit for limit in (_control_group(), _address_space()) if limit is not None]
    return Memory(min(m.total for m in limits), max(0, min(m.available for m in limits)))


def peak_bytes() -> int:
    """The most memory that this process has had resident so far.

    Linux carries what `getrusage` says over from the process that started this one.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def gigabytes(size: float) -> str:
    """A size for people: 3.2 GiB, or 512 MiB where it is less than one."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def _control_group() -> Memory | None:
    """The limit of a container (cgroup version 2 or 1), if there is one."""
    root = Path("/sys/fs/cgroup")
    places = [(root / "memory.max", root / "memory.current", root / "memory.stat")]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                own = root / path.lstrip("/")
                places.append((own / "memory.max", own / "memory.current", own / "memory.stat"))
            elif "memory" in controllers.split(","):
                own = root / "memory"
                places.append(
                    (
                        own / "memory.limit_in_bytes",
                        own / "memory.usage_in_bytes",
                        own / "memory.stat",
                    )
                )
    found = [limit for place in places if (limit := _limit(*place)) is not None]
    return min(found, key=lambda limit: limit.available, default=None)


def _limit(most: Path, used: Path, stat: Path) -> Memory | None:
    try:
        words = most.read_text().strip()
        if words == "max" or int(words) >= psutil.virtual_memory().total:
            return None
        held = int(used.read_text())
        for line in stat.read_text().splitlines():
            if line.split()[0] in ("inactive_file", "total_inactive_file"):
                held -= int(line.split()[1])  # file cache that goes when memory is wanted
                break
        return Memory(int(words), int(words) - held)
    except (OSError, ValueError, IndexError):
        return None


def _address_space() -> Memory | None:
    """The limit of `ulimit -v`."""
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None
    return Memory(most, most - psutil.Process().memory_info().vms)
