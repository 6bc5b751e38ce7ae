"""Which process of a run this is, and who started it.

A launcher tells its processes by environment variables, each in its own words. Here they are read
once and put into torchrun's words, which are the ones that torch and Lightning read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from heed.errors import UserError

Launcher = Literal["torchrun", "slurm", "environment"]
TORCHRUN = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
_FIRST_PORT, _PORTS = 15_000, 20_000  # where Slurm jobs meet, spread by their number


class World(NamedTuple):
    """The place of this process among those that a launcher started.

    Attributes:
        rank: Number of this process among all; 0 is the first.
        size: How many there are.
        local_rank: Number of this process on its machine.
        local_size: How many of them are on this machine.
        address: Where the first process (or torchrun's agent) can be reached.
        port: On which port.
        launcher: "torchrun", "slurm" (srun), or "environment" for whoever else sets the variables.
        job: A name of the job that stays the same when the launcher starts it again; "" if unknown.
        attempt: How often the launcher has started this job before.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    launcher: Launcher
    job: str
    attempt: int

    @property
    def nodes(self) -> int:
        """How many machines there are."""
        return self.size // self.local_size


def launched_world(environ: Mapping[str, str] = os.environ) -> World | None:
    """The world that a launcher made; None where this process was started by itself.

    Raises:
        UserError: If machines have different numbers of processes, or a variable is no number.
    """
    if all(name in environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")):
        return _of_torchrun(environ)
    if _number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PROCID" in environ:
        return _of_slurm(environ)
    return None


def enter(world: World) -> None:
    """Tell torch and Lightning about the world, in torchrun's words."""
    values = (world.rank, world.size, world.local_rank, world.local_size)
    group = world.rank // world.local_size
    for name, value in zip(TORCHRUN, (*values, group, world.address, world.port), strict=True):
        os.environ[name] = str(value)


def leave() -> None:
    """Forget the world that `enter` told about."""
    for name in TORCHRUN:
        os.environ.pop(name, None)


def _of_torchrun(environ: Mapping[str, str]) -> World:
    size, rank = _number(environ, "WORLD_SIZE"), _number(environ, "RANK")
    local_size = _number(environ, "LOCAL_WORLD_SIZE", size)
    _check_even(size, local_size)
    elastic = environ.get("TORCHELASTIC_RUN_ID")
    return World(
        rank=rank,
        size=size,
        local_rank=_number(environ, "LOCAL_RANK"),
        local_size=local_size,
        address=environ["MASTER_ADDR"],
        port=_number(environ, "MASTER_PORT", 29_500),
        launcher="environment" if elastic is None else "torchrun",
        job=f"torchrun-{elastic}" if elastic else "",
        attempt=_number(environ, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _of_slurm(environ: Mapping[str, str]) -> World:
    size = _number(environ, "SLURM_STEP_NUM_TASKS")
    counts = environ.get("SLURM_STEP_TASKS_PER_NODE", str(size))  # such as "2(x3),1"
    local_size = int(re.match(r"\d+", counts)[0])  # type: ignore[index]
    if re.fullmatch(r"\d+(\(x\d+\))?", counts) is None:
        raise UserError(
            f"every node of a job must have the same number of tasks, but they have {counts}",
            "give srun --ntasks-per-node=N",
        )
    _check_even(size, local_size)
    job = environ.get("SLURM_JOB_ID", "0")
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "127.0.0.1")
    return World(
        rank=_number(environ, "SLURM_PROCID"),
        size=size,
        local_rank=_number(environ, "SLURM_LOCALID"),
        local_size=local_size,
        address=environ.get("MASTER_ADDR", first_host(nodes)),
        port=_number(environ, "MASTER_PORT", _FIRST_PORT + int(job) % _PORTS),
        launcher="slurm",
        job=slurm_job(environ),
        attempt=_number(environ, "SLURM_RESTART_COUNT", 0),
    )


def slurm_job(environ: Mapping[str, str] = os.environ) -> str:
    """A name for the Slurm job around this process; "" outside of one."""
    job = environ.get("SLURM_JOB_ID", "")
    return f"slurm-{job}" if job else ""


def first_host(nodes: str) -> str:
    """The first of Slurm's node names, such as "gpu[07-09,12],login" -> "gpu07"."""
    match = re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)
    if match is None:
        raise UserError(f"SLURM_STEP_NODELIST must name machines, but is {nodes!r}")
    return match[1] + (match[2] or "")


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "")
    if not text and default is not None:
        return default
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"the launcher must set {name} to a whole number, but it is {text!r}"
        ) from None


def _check_even(size: int, local_size: int) -> None:
    if local_size < 1 or size % local_size:
        raise UserError(
            "every machine must have the same number of processes, "
            f"but {size} processes come {local_size} a machine",
            "start as many on each: torchrun --nproc-per-node=N, srun --ntasks-per-node=N",
        )
