"""A command that makes runs, in each of the processes that a launcher has started alike."""

from __future__ import annotations

from collections.abc import Callable

from heed.commands.ranks import dismiss, join_world
from heed.commands.world import World, launched_world
from heed.errors import EXIT_FAILED, EXIT_USER, UserError


def in_world(command: Callable[[World | None], int]) -> int:
    """Call a command in the first process; the others wait for the runs that it begins.

    Args:
        command: Gets the world that a launcher (torchrun, srun) made, None without one; returns the
            exit code.

    Returns:
        The exit code, the same in all processes.
    """
    world = launched_world()
    if world is None:
        return command(None)
    if world.rank > 0:
        from heed.commands.rank import follow

        return follow(world)
    join_world(world)
    code = EXIT_FAILED
    try:
        code = command(world)
    except UserError:
        code = EXIT_USER
        raise
    except SystemExit as stopped:
        code = int(stopped.code or 0)
        raise
    finally:
        dismiss(code)
    return code
