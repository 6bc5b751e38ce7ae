"""One further process of a distributed run: `python -m heed.commands.rank RUN_FOLDER`."""

from __future__ import annotations

import sys

from heed.commands.fit import fit
from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import TOKENIZER, find_checkpoint, open_run


def main(run_dir: str) -> int:
    """Train and test as the first process does, without writing records."""
    quiet_libraries()
    import lightning.pytorch as pl

    from heed.commands.assemble import assemble
    from heed.commands.session import build_trainer, test

    record, config = open_run(run_dir)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    parts = assemble(
        config,
        tokenizer_dir=record.run_dir / TOKENIZER,
        labels=record.fields["data"].get("labels"),
        warm_start=False,  # rank 0 hands its weights to all
    )
    trainer = build_trainer(config, record.run_dir)
    resumed = bool(record.fields.get("sessions"))
    checkpoint = find_checkpoint(record, "last") if resumed else None
    fit(trainer, parts, checkpoint)
    test(trainer, parts, record)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
