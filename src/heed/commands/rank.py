"""One further process of a distributed run, which does as the first process says.

Started by the first process (`python -m heed.commands.rank RUN_FOLDER [CHECKPOINT]`), or, where a
launcher starts all processes alike (torchrun, srun), by `follow`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from heed.commands.fit import fit
from heed.commands.quiet import quiet_libraries
from heed.commands.rendezvous import Rendezvous, meet_at
from heed.commands.world import World, enter
from heed.errors import EXIT_FAILED, UserError
from heed.tracking.config_file import load_config
from heed.tracking.folder import CONFIG, LOGS, RECORD_NAME, TOKENIZER
from heed.tracking.record import RunRecord

PARENT_SECONDS = 10.0  # after the first process has gone, until this one is ended


def follow(world: World) -> int:
    """Join one run after another, as the first process of a launched world calls for them.

    Returns:
        The exit code that the first process gives.

    Raises:
        UserError: If the run folder cannot be seen from here.
    """
    enter(world)
    rendezvous = Rendezvous(world)
    while (call := rendezvous.wait()).run_dir is not None:
        if not Path(call.run_dir, RECORD_NAME).is_file():
            raise UserError(
                f"the run folder must be seen by all machines, but {call.run_dir} is not here",
                "choose a shared folder with paths.output_dir=FOLDER",
            )
        meet_at(call.port)
        with _printing_to(Path(call.run_dir) / LOGS / f"rank-{world.rank}.log"):
            join(Path(call.run_dir), Path(call.checkpoint) if call.checkpoint else None)
            leave_process_group()
    return call.exit_code


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Write what this process and its libraries print to a log of its own."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as log:
        before = os.dup(1), os.dup(2)
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.dup2(log.fileno(), descriptor)
        try:
            yield
        except Exception:
            traceback.print_exc()
            os.write(before[1], f"this process failed; its log: {path}\n".encode())
            raise SystemExit(EXIT_FAILED) from None
        finally:
            for stream, descriptor, original in zip(
                (sys.stdout, sys.stderr), (1, 2), before, strict=True
            ):
                stream.flush()
                os.dup2(original, descriptor)
                os.close(original)


def join(run_dir: Path, checkpoint: Path | None) -> None:
    """Train and test as the first process of a run does, without writing records.

    Args:
        run_dir: The run folder.
        checkpoint: Where training goes on; None begins it.
    """
    quiet_libraries()
    import lightning.pytorch as pl

    from heed.commands.assemble import assemble
    from heed.commands.session import build_trainer, ending_on_signals, handling_signals, test
    from heed.training.callbacks.pruning import pruned

    record = RunRecord.open(run_dir)  # of this user's own command, as the first process says
    config = load_config(run_dir / CONFIG)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    with ending_on_signals():
        parts = assemble(
            config,
            tokenizer_dir=record.run_dir / TOKENIZER,
            labels=record.fields["data"].get("labels"),
            warm_start=False,  # the first process hands its weights to all
            recorded=record.fields["data"],
            use="kept",
        )
        parts.datamodule.prepare_data()  # at once, unless this is another machine's cache
        trainer = build_trainer(config, record.run_dir)
        with handling_signals(trainer):
            fit(trainer, parts, checkpoint)
            if pruned(trainer) is None:
                test(trainer, parts, record)


def leave_process_group() -> None:
    """Let the next run of this process, as in a sweep, find processes of its own."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def end_with_parent() -> None:
    """Let no process stay when the first has gone, whatever this one is waiting for."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        time.sleep(PARENT_SECONDS)  # the usual end: what waits for the first process fails
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def main(words: list[str]) -> int:
    """Join the run that the first process names."""
    end_with_parent()
    join(Path(words[0]), Path(words[1]) if len(words) > 1 else None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
