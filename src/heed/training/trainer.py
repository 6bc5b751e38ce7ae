"""The Lightning Trainer, from the values of `trainer=`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from heed.training.asynchronous_io import AsynchronousCheckpointIO
from heed.training.callbacks.compilation import Compilation
from heed.training.callbacks.no_idle_hooks import NoIdleHooks, Unprofiled
from heed.training.callbacks.step_metrics import StepMetrics
from heed.training.checkpoint_io import AtomicCheckpointIO
from heed.training.precision import resolve_precision
from heed.training.strategies import cluster_environment

PROFILE = "profile"
"""The folder in a run's for what a profiler writes."""


def build_trainer(
    *,
    accelerator: str,
    devices: int | str | list[int],
    strategy: str | Strategy,
    num_nodes: int,
    precision: str,
    max_steps: int,
    max_epochs: int | None,
    max_time: str | None,
    limit_train_batches: int | float | None,
    limit_val_batches: int | float | None,
    limit_test_batches: int | float | None,
    val_check_interval: int | float,
    accumulate_grad_batches: int,
    gradient_clip_val: float | None,
    log_every_n_steps: int,
    num_sanity_val_steps: int,
    deterministic: bool | str,
    detect_anomaly: bool,
    overfit_batches: int | float,
    profiler: str | None,
    requeue: bool,
    asynchronous_checkpoints: bool = False,
    auto_batch: bool | int = False,
    compile: Literal["auto"] | bool = False,
    callbacks: list[Callback],
    loggers: list[Logger],
    run_dir: Path,
) -> pl.Trainer:
    """A Trainer that leaves sampling, checkpoints and logs to Heed's own parts.

    Args:
        accelerator: "auto", "cpu", "gpu" or "mps".
        devices: How many devices of this machine, "auto" for all, or the numbers of GPUs.
        strategy: "auto" for one process, "ddp" with Lightning's defaults, or one of
            `heed.training.strategies`.
        num_nodes: How many machines.
        precision: "auto" or one of Lightning's.
        max_steps: Optimizer steps at most; -1 for no bound.
        max_epochs: Passes over the training data at most; None or -1 for no bound.
        max_time: Wall-clock bound as "DD:HH:MM:SS".
        limit_train_batches: Training batches an epoch, as a number or a share.
        limit_val_batches: Validation batches, as a number or a share.
        limit_test_batches: Test batches, as a number or a share.
        val_check_interval: Validate every so many training batches (int, counted over epochs), or
            after this share of an epoch (float).
        accumulate_grad_batches: Batches whose gradients make one optimizer step.
        gradient_clip_val: Largest gradient norm; None does not clip.
        log_every_n_steps: Optimizer steps between log lines.
        num_sanity_val_steps: Validation batches before training.
        deterministic: Whether operations without a deterministic form are refused ("warn": warned).
        detect_anomaly: Whether autograd looks for the operation that made a NaN.
        overfit_batches: Train on this many batches of the training data only, and validate on as
            many of the validation data, or on none with limit_val_batches=0.
        profiler: "steps" (Heed's own), or Lightning's "simple", "advanced" or "pytorch".
        requeue: Whether a Slurm job that was stopped by SIGUSR1 or SIGUSR2 is put back into the
            queue; read by the command, not by the Trainer.
        asynchronous_checkpoints: Whether checkpoints are written in the background, from a copy in
            memory.
        auto_batch: Whether `data.max_tokens` was to be found before training; done by then.
        compile: Whether training steps are compiled; "auto": where that pays.
        callbacks: Lightning callbacks.
        loggers: Lightning loggers.
        run_dir: The run folder.
    """
    checkpoint_io = AsynchronousCheckpointIO if asynchronous_checkpoints else AtomicCheckpointIO
    counts_batches = isinstance(val_check_interval, int)
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        num_nodes=num_nodes,
        precision=resolve_precision(precision, accelerator),  # type: ignore[arg-type]
        max_steps=max_steps,
        max_epochs=-1 if max_epochs is None else max_epochs,
        max_time=max_time,
        limit_train_batches=limit_train_batches,
        limit_val_batches=limit_val_batches,
        limit_test_batches=limit_test_batches,
        val_check_interval=val_check_interval,
        check_val_every_n_epoch=None if counts_batches else 1,
        accumulate_grad_batches=accumulate_grad_batches,
        gradient_clip_val=gradient_clip_val,
        log_every_n_steps=log_every_n_steps,
        num_sanity_val_steps=num_sanity_val_steps,
        deterministic=deterministic,  # type: ignore[arg-type]
        detect_anomaly=detect_anomaly,
        overfit_batches=overfit_batches,
        profiler=_profiler(profiler, run_dir, max_steps),
        callbacks=[*callbacks, StepMetrics(), Compilation(compile), NoIdleHooks()],
        logger=loggers or False,
        default_root_dir=os.fspath(run_dir),
        plugins=[checkpoint_io(), cluster_environment()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=any(_is_progress_bar(callback) for callback in callbacks),
        inference_mode=True,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
    )
    if limit_val_batches == 0:
        trainer.limit_val_batches = 0  # overfit_batches has set it
    return trainer


def _is_progress_bar(callback: Callback) -> bool:
    from lightning.pytorch.callbacks import ProgressBar

    return isinstance(callback, ProgressBar)


def _profiler(name: str | None, run_dir: Path, max_steps: int) -> Any:
    """The profiler of that name, writing into the run folder."""
    if name is None:
        return Unprofiled()
    from lightning.pytorch import profilers

    from heed.training.step_profiler import NAME, StepProfiler

    if name == NAME:
        return StepProfiler(run_dir / PROFILE, max_steps=max_steps)
    kinds = {
        "simple": profilers.SimpleProfiler,
        "advanced": profilers.AdvancedProfiler,
        "pytorch": profilers.PyTorchProfiler,
    }
    return kinds[name](dirpath=run_dir / PROFILE, filename=name)
