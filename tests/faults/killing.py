"""Configs of small runs that are killed, and what must hold of one that was resumed."""

from __future__ import annotations

from pathlib import Path

from forked import ForkServer

from heed.commands.run_comparison import compare_runs

STEPS_BETWEEN_SAVES = 4
BATCHES_A_STEP = {"accumulated": 3, "sentiment": 2}
# As small as a run can be with several epochs, validations and checkpoints; dropout is on.
SMALL = (
    *("model.d_model=14", "model.n_heads=2", "model.d_feed_forward=23", "model.n_layers=1"),
    *("model.dropout=0.2", "optimizer.lr=0.02", "scheduler.warmup_steps=3", "logger=csv"),
    *("tokenizer.vocabulary_size=311", "data.max_tokens=500", "decoding=greedy"),
    *("data.source.train_size=61", "data.source.validation_size=11", "data.source.test_size=13"),
    *("decoding.max_length=7", "trainer=cpu", "trainer.precision=32-true"),
    *("trainer.max_steps=23", "trainer.max_epochs=-1", "trainer.val_check_interval=5"),
    *("trainer.log_every_n_steps=3", "task.monitor=val/loss", "task.mode=min"),
    *(f"callbacks.last.every_n_train_steps={STEPS_BETWEEN_SAVES}", "callbacks.trace.enabled=true"),
)
CASES = {
    "translation": ("task=translation",),
    "accumulated": (
        "task=translation",
        f"trainer.accumulate_grad_batches={BATCHES_A_STEP['accumulated']}",
    ),
    "averaged": ("task=summarization", "callbacks.ema.decay=0.9", "data.max_tokens=900"),
    "sentiment": (
        *("task=sentiment", "callbacks.ema.decay=0.9"),
        f"trainer.accumulate_grad_batches={BATCHES_A_STEP['sentiment']}",
    ),
    "workers": ("task=sentiment", "data.num_workers=2"),
    "qa": ("task=qa", "task.preparation.max_length=97", "task.preparation.stride=13"),
    "generative": ("task=generative_qa", "model.dropout=0.1"),
    # A rate at which nothing is learned, so that it stops early.
    "stopped": ("task=sentiment", "optimizer.lr=1.0", "callbacks.early_stopping.patience=2"),
}


class Cases:
    """Trains, kills and resumes runs of `CASES`, and compares them with the uninterrupted one.

    Args:
        server: Who runs the commands.
        folder: For all run folders.
    """

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._whole: dict[str, Path] = {}

    def words(self, case: str, run: Path) -> list[str]:
        """The command that begins a run of a case in a folder."""
        cache = f"paths.cache_dir={self.folder / 'cache'}"
        return ["train", *SMALL, *CASES[case], f"paths.run_dir={run}", cache]

    def whole(self, case: str) -> Path:
        """The uninterrupted run, trained once."""
        if case not in self._whole:
            run = self.folder / case / "whole"
            self.server.run(*self.words(case, run))
            self._whole[case] = run
        return self._whole[case]

    def check(self, case: str, run: Path) -> None:
        """See that a finished run did what the uninterrupted one did, to the last bit."""
        differences = compare_runs(self.whole(case), run)
        assert not differences, f"{run}\n" + "\n".join(map(str, differences))
