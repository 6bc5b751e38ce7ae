"""The Lightning Trainer that the values of `trainer=` make."""

from __future__ import annotations

import inspect

import pytest
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler

from heed.commands.compose import compose
from heed.training.callbacks.interrupt import Interrupt
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint
from heed.training.checkpoint_io import AtomicCheckpointIO
from heed.training.trainer import build_trainer

PARTS = ("callbacks", "loggers", "run_dir")


@pytest.fixture(scope="module")
def values():
    node = compose("train", ["trainer=cpu"])["trainer"]
    return {name: value for name, value in node.items() if name != "_target_"}


@pytest.fixture
def make(values, tmp_path):
    def build(callbacks=(), **changes):
        return build_trainer(
            **{**values, **changes}, callbacks=list(callbacks), loggers=[], run_dir=tmp_path
        )

    return build


def test_the_shipped_values_are_its_parameters(values):
    assert [*values, *PARTS] == list(inspect.signature(build_trainer).parameters)


def test_values_arrive(make):
    trainer = make(
        max_steps=7,
        max_epochs=3,
        max_time="00:00:11:00",
        limit_train_batches=5,
        limit_val_batches=2,
        limit_test_batches=0,
        accumulate_grad_batches=3,
        gradient_clip_val=0.5,
        log_every_n_steps=13,
        num_sanity_val_steps=1,
        precision="32-true",
        overfit_batches=0,
    )
    assert (trainer.max_steps, trainer.max_epochs) == (7, 3)
    assert (trainer.limit_train_batches, trainer.limit_val_batches) == (5, 2)
    assert trainer.limit_test_batches == 0
    assert trainer.accumulate_grad_batches == 3
    assert trainer.gradient_clip_val == 0.5
    assert trainer.log_every_n_steps == 13
    assert trainer.num_sanity_val_steps == 1
    assert trainer.precision == "32-true"


@pytest.mark.parametrize("epochs", [None, -1])
def test_no_bound_on_epochs(make, epochs):
    assert make(max_epochs=epochs, max_steps=7).max_epochs == -1


@pytest.mark.parametrize(("interval", "every_epoch"), [(5, None), (0.5, 1), (1.0, 1)])
def test_a_whole_interval_counts_batches_over_epochs(make, interval, every_epoch):
    trainer = make(val_check_interval=interval)
    assert trainer.val_check_interval == interval
    assert trainer.check_val_every_n_epoch == every_epoch


def test_sampling_and_checkpoints_are_left_to_heed(make, tmp_path):
    trainer = make(callbacks=[LastCheckpoint(), Interrupt()])
    assert not trainer._accelerator_connector.use_distributed_sampler
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    assert trainer.default_root_dir == str(tmp_path)
    kinds = [type(callback) for callback in trainer.checkpoint_callbacks]
    assert kinds.count(LastCheckpoint) == 1
    assert set(kinds) == {LastCheckpoint, Interrupt}


def test_without_callbacks_nothing_is_saved_and_nothing_shown(make):
    trainer = make()
    assert trainer.checkpoint_callbacks == []
    assert trainer.progress_bar_callback is None
    assert trainer.loggers == []


def test_a_progress_bar_that_is_given_is_shown(make):
    bar = RichProgressBar()
    assert make(callbacks=[bar]).progress_bar_callback is bar


def test_profilers_write_into_the_run_folder(make, tmp_path):
    assert isinstance(make().profiler, PassThroughProfiler)
    profiler = make(profiler="simple").profiler
    assert isinstance(profiler, SimpleProfiler)
    assert profiler.dirpath == tmp_path / "profile"
