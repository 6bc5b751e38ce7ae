"""One sitting of a run: from its frozen config and record to a tested best checkpoint.

Knows nothing of how the config was composed. A run has one sitting, or several when it is resumed;
each of its processes (ranks) runs this same code on the same config file.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.accidents import naming_accidents
from heed.commands.fit import fit
from heed.commands.out_of_memory import memory_watched, quoted
from heed.commands.packing import settle_packing
from heed.commands.quiet import quiet_libraries
from heed.commands.requeue import requeue
from heed.commands.shares import check_shares
from heed.commands.summary import closing_summary, opening_summary, shown_path
from heed.errors import UserError
from heed.tracking.config_file import save_config
from heed.tracking.environment import describe_computing, describe_gpus
from heed.tracking.folder import CHECKPOINTS, CONFIG, LOGS, TEST_PREDICTIONS, TOKENIZER

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord


def run_session(
    config: dict[str, Any],
    record: RunRecord,
    *,
    checkpoint: Path | None = None,
    resumed: bool = False,
    origin: RunRecord | None = None,
) -> float | None:
    """Train, test the best checkpoint, record it all.

    Args:
        config: The frozen config of the run.
        record: Its record, with status "running".
        checkpoint: Where training goes on; None begins it.
        resumed: Whether the run has been begun before.
        origin: The run that this one repeats: its tokenizer, labels and data are taken.

    Returns:
        The best validation score, for sweeps; None without validation.

    Raises:
        UserError: If data, model or checkpoint cannot be had as the config says.
        SystemExit: With 130 or 143 when the run was interrupted or stopped, after saving.
    """
    quiet_libraries()
    from heed.commands.ranks import Ranks, processes
    from heed.commands.rendezvous import Call
    from heed.training.callbacks.interrupt import Stopped

    count, logs = processes(config["trainer"]), record.run_dir / LOGS
    ranks = Ranks(count, logs, lambda reason: record.finish("failed", reason))
    try:
        with record.running(), ending_on_signals(), ranks, naming_accidents(record.run_dir):
            with record.phase("preparation"):
                parts = prepare(config, record, resumed=checkpoint is not None, origin=origin)
            call = Call(os.path.abspath(record.run_dir), str(checkpoint) if checkpoint else None)
            words = [word for word in (call.run_dir, call.checkpoint) if word]
            ranks.start("heed.commands.rank", words, call)
            return train_and_test(config, parts, record, checkpoint, resumed=resumed)
    except Stopped as stopped:
        print(_how_to_go_on(record.run_dir, saved=stopped.saved), file=sys.stderr)
        requeue(config, stopped)  # which may end this process: all has been recorded by now
        raise


def prepare(
    config: dict[str, Any], record: RunRecord, *, resumed: bool, origin: RunRecord | None = None
) -> Parts:
    """Everything that comes before the first step: data, tokenizer, model, and their record."""
    import lightning.pytorch as pl

    from heed.commands.assemble import assemble

    pl.seed_everything(config["seed"], workers=True, verbose=False)
    if settle_packing(config):
        save_config(config, record.run_dir / CONFIG)
    known = record if resumed else origin  # who knows the data, the labels and the tokenizer
    parts = assemble(
        config,
        tokenizer_dir=known.run_dir / TOKENIZER if known else None,
        labels=known.fields["data"].get("labels") if known else None,
        warm_start=not resumed,
        recorded=known.fields["data"] if known else None,
        record=record if resumed else None,
    )
    parts.datamodule.prepare_data()
    if not resumed:
        parts.tokenizers.save(record.run_dir / TOKENIZER)
        record_ancestor(config, record, parts)
    if not resumed and config["trainer"].get("auto_batch"):
        size_batches(config, parts, record)
    check_shares(config["trainer"], parts.datamodule)
    record.update(
        data={**parts.datamodule.statistics(), "labels": parts.labels},
        tokenizer={"fingerprint": parts.tokenizers.fingerprint, "joint": parts.tokenizers.joint},
        parameters=sum(p.numel() for p in parts.task.parameters()),
    )
    opening_summary(config, parts, record)
    return parts


def record_ancestor(config: dict[str, Any], record: RunRecord, parts: Parts) -> None:
    """Record which weights the model was started from, if it was, and what of them it has."""
    from heed.commands.fine_tune import PLACE, place_of
    from heed.commands.warm_start import ancestor, checkpoint_facts

    run = config["model"].get("init_from")
    if run:
        started = {**ancestor(run, parts.task.carried_over), PLACE: place_of(run, record.run_dir)}
        record.update(lineage={"init_from": started})
    elif config["model"].get("pretrained"):
        record.update(lineage={"pretrained": checkpoint_facts(config["model"])})


def size_batches(config: dict[str, Any], parts: Parts, record: RunRecord) -> None:
    """Follow `trainer.auto_batch`: find the limits and freeze them, for all processes and later."""
    from heed.commands.auto_batch import find_batch

    found = find_batch(config, record.run_dir, parts)
    config["data"]["max_tokens"] = found.max_tokens
    config["data"]["eval_max_tokens"] = found.eval_max_tokens
    config["trainer"]["auto_batch"] = False  # it is done, for whoever reads the config from now on
    save_config(config, record.run_dir / CONFIG)
    parts.datamodule.limit(max_tokens=found.max_tokens, eval_max_tokens=found.eval_max_tokens)
    record.update(data={"auto_batch": vars(found)})
    print(found.line(config["optimizer"]["lr"]), flush=True)


def train_and_test(
    config: dict[str, Any],
    parts: Parts,
    record: RunRecord,
    checkpoint: Path | None,
    *,
    resumed: bool,
) -> float | None:
    """Fit, test the best checkpoint, write predictions and scores.

    A run that its search has stopped early is not tested.
    """
    from heed.training.callbacks.pruning import pruned

    trainer = build_trainer(config, record.run_dir)
    if trainer.is_global_zero:
        record.update(computing=describe_computing(trainer), hardware={"gpus": describe_gpus()})
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
    with _finishing(trainer), handling_signals(trainer):
        before = record.fields.get("steps") if resumed else None
        with record.phase("training"), _recording(trainer, record):
            fit(trainer, parts, checkpoint)
        if trainer.is_global_zero and trainer.global_step == before:
            print(
                f"There was nothing left to train after step {before:,}; "
                "for more give trainer.max_steps=N or trainer.max_epochs=N."
            )
        stopped_early = pruned(trainer)
        if stopped_early is None:
            with record.phase("test"):
                test(trainer, parts, record)
        _record_signatures(parts, record)
    if stopped_early is not None:
        record.finish("pruned", stopped_early)
    if trainer.is_global_zero:
        closing_summary(record, parts)
    return best_score(trainer)


def build_trainer(config: dict[str, Any], run_dir: Path) -> pl.Trainer:
    """The Lightning Trainer that `trainer=`, `callbacks=` and `logger=` describe."""
    from heed.commands.assemble import build_callbacks, build_loggers
    from heed.commands.build import build

    return build(
        config["trainer"],
        key="trainer",
        callbacks=build_callbacks(config),
        loggers=build_loggers(config, run_dir),
        run_dir=run_dir,
    )


def test(trainer: pl.Trainer, parts: Parts, record: RunRecord) -> None:
    """Score the test split with the best checkpoint; write its predictions."""
    from heed.training.callbacks.checkpoint import best_checkpoint

    if trainer.limit_test_batches == 0:
        return
    best = best_checkpoint(trainer)
    with memory_watched(parts, trainer, run=quoted(record.run_dir)):
        trainer.test(
            parts.task,
            datamodule=parts.datamodule,
            ckpt_path=os.fspath(best) if best else None,
            weights_only=True,
            verbose=False,
        )
    if trainer.is_global_zero:
        write_predictions(parts.task.predictions, record.run_dir / TEST_PREDICTIONS)
        record.update(metrics=stage_metrics(trainer, "test/"))


def write_predictions(predictions: list[tuple[int, dict[str, Any]]], path: Path) -> None:
    """One object a line, in the order of the data, each with the number of its example."""
    from heed.tracking.predictions import PredictionWriter

    with PredictionWriter(path) as writer:
        writer.write({"index": index, **prediction} for index, prediction in predictions)


def stage_metrics(trainer: pl.Trainer, prefix: str) -> dict[str, float]:
    """The scores of one stage by name."""
    return {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }


def best_score(trainer: pl.Trainer) -> float | None:
    """The best validation score of a training; None without one."""
    from heed.training.callbacks.checkpoint import BestCheckpoint

    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


@contextlib.contextmanager
def _recording(trainer: pl.Trainer, record: RunRecord) -> Iterator[None]:
    """Record what the training in the block came to, whether it ends well, fails or is stopped."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(UserError, OSError):  # a full disk must not hide the error
            _record_training(trainer, record)
        raise
    _record_training(trainer, record)


def _record_training(trainer: pl.Trainer, record: RunRecord) -> None:
    from heed.training.callbacks.checkpoint import BestCheckpoint, best_checkpoint
    from heed.training.callbacks.throughput import Throughput
    from heed.training.checkpoint_io import disk_use

    if not trainer.is_global_zero:
        return
    _record_faults(trainer, record)
    if trainer.global_step == 0:
        return  # nothing was trained, or what a checkpoint holds was not even read
    metrics = stage_metrics(trainer, "train/loss")
    throughput: dict[str, float] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BestCheckpoint):
            metrics |= callback.best_scores
        if isinstance(callback, Throughput):
            throughput = callback.summary()
    record.update(
        metrics=metrics,
        throughput=throughput,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        best_checkpoint=best_checkpoint(trainer),
        checkpoints=disk_use(record.run_dir / CHECKPOINTS),
        signatures=getattr(trainer.lightning_module, "signatures", {}),
    )


def _record_faults(trainer: pl.Trainer, record: RunRecord) -> None:
    from heed.training.callbacks.non_finite import NonFinite

    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = [fault for one in callbacks if isinstance(one, NonFinite) for fault in one.found]
    if found:
        record.update(faults=[*record.fields["faults"], *found])


def _record_signatures(parts: Parts, record: RunRecord) -> None:
    if parts.task.signatures:
        record.update(signatures=parts.task.signatures)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Signals before or after the training end the run in order too, so that it is recorded."""
    from heed.training.callbacks.interrupt import STOPPING, Stopped

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        raise Stopped(signum, saved=False)

    before = {signum: signal.signal(signum, stop) for signum in STOPPING}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def handling_signals(trainer: pl.Trainer) -> Any:
    """The context in which the trainer's own callback answers signals."""
    from heed.training.callbacks.interrupt import Interrupt

    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, Interrupt)), contextlib.nullcontext())


@contextlib.contextmanager
def _finishing(trainer: pl.Trainer) -> Iterator[None]:
    """Close the loggers however the block ends, so that the next run does not write into them."""
    from heed.tracking.loggers import finish_loggers

    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        if trainer.is_global_zero:
            for line in finish_loggers(trainer.loggers, succeeded=succeeded):
                print(line)


def _how_to_go_on(run_dir: Path, *, saved: bool) -> str:
    if saved or (run_dir / CHECKPOINTS / "last.ckpt").is_file():
        return f"Stopped. Go on with:  heed train resume={shlex.quote(shown_path(run_dir))}"
    return f"Stopped before there was a checkpoint; {shown_path(run_dir)} can be deleted."
