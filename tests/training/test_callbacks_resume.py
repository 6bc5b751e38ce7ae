"""Stopping at any step and going on gives the run that never stopped, bit for bit."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch
from tiny_run import QUIET, ROWS, Data, make_model, make_trainer, same, weights

from heed.training.callbacks.checkpoint import BestCheckpoint
from heed.training.callbacks.ema import ema
from heed.training.callbacks.exact_state import (
    ExactState,
    plain_random_state,
    random_state,
    set_random_state,
)
from heed.training.callbacks.interrupt import Interrupt, Stopped
from heed.training.callbacks.periodic_checkpoint import HistoryCheckpoint, LastCheckpoint
from heed.training.callbacks.throughput import Throughput

pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]


def parts(decay=None, every=None):
    found = [
        ExactState(),
        Throughput(),
        ema(decay=decay),
        BestCheckpoint(monitor="val/score", mode="max"),
        LastCheckpoint(every_n_train_steps=every),
        Interrupt(),
    ]
    return [part for part in found if part is not None]


def run(
    run_dir,
    *,
    at_batch=None,
    resume=False,
    decay=None,
    in_validation=None,
    every=None,
    more=(),
    **changes,
):
    model = make_model()
    model.at_batch = at_batch or {}
    model.in_validation = in_validation
    trainer = make_trainer(run_dir, [*parts(decay, every), *more], **changes)
    stopped = None
    try:
        trainer.fit(
            model,
            datamodule=Data(),
            ckpt_path=str(run_dir / "checkpoints" / "last.ckpt") if resume else None,
        )
    except Stopped as error:
        stopped = error
    return model, trainer, stopped


def send(signum):
    return lambda: os.kill(os.getpid(), signum)


@pytest.mark.parametrize(
    ("batch", "signum", "changes", "decay"),
    [
        (1, signal.SIGTERM, {}, None),
        (4, signal.SIGINT, {}, None),  # where a validation is due
        (6, signal.SIGTERM, {}, 0.9),
        (ROWS, signal.SIGINT, {}, None),  # the last of an epoch
        (ROWS + 3, signal.SIGTERM, {"accumulate_grad_batches": 2}, None),
        (5, signal.SIGTERM, {"val_check_interval": 1.0, "check_val_every_n_epoch": 1}, None),
    ],
)
def test_a_stopped_run_goes_on_exactly(tmp_path, batch, signum, changes, decay):
    whole, _, _ = run(tmp_path / "whole", decay=decay, **changes)
    first, trainer, stopped = run(
        tmp_path / "cut", at_batch={batch: send(signum)}, decay=decay, **changes
    )
    assert (stopped.code, stopped.saved) == (128 + signum, True)
    assert trainer.interrupted
    # batches 16 and 17, the third and fourth of the second epoch, make one step
    assert len(first.trained) == batch + changes.get("accumulate_grad_batches", 1) - 1
    second, trainer, stopped = run(tmp_path / "cut", resume=True, decay=decay, **changes)
    assert stopped is None
    assert first.trained + second.trained == whole.trained
    assert first.losses + second.losses == whole.losses
    assert same(weights(second), weights(whole))
    throughput = next(c for c in trainer.callbacks if isinstance(c, Throughput))
    assert throughput.summary()["tokens"] == 7 * 2 * ROWS


def test_validation_leaves_no_trace_in_the_numbers_of_training(tmp_path):
    often, _, _ = run(tmp_path / "often", val_check_interval=2)
    seldom, _, _ = run(tmp_path / "seldom", val_check_interval=ROWS)
    assert often.losses == seldom.losses


def test_without_the_callback_it_would(tmp_path):
    losses = []
    for interval in (2, ROWS):
        model = make_model()
        make_trainer(tmp_path, [], val_check_interval=interval).fit(model, datamodule=Data())
        losses.append(model.losses)
    assert losses[0] != losses[1]


def test_random_states_are_plain_and_come_back(tmp_path):
    import random

    import numpy as np

    cpu = torch.device("cpu")
    state = random_state(cpu)
    torch.save(plain_random_state(state), tmp_path / "state.pt")
    expected = (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist())
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), cpu)
    assert (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()) == expected
    set_random_state(state, cpu)
    assert (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()) == expected


@pytest.mark.parametrize("decay", [None, 0.9])
def test_a_signal_in_a_validation_ends_it_and_it_begins_anew(tmp_path, decay):
    whole, trainer, _ = run(tmp_path / "whole", decay=decay)
    model, _, stopped = run(tmp_path, decay=decay, in_validation=send(signal.SIGTERM))
    assert (stopped.code, stopped.saved) == (143, True)
    assert (len(model.trained), model.validated) == (4, 1)
    second, again, _ = run(tmp_path, resume=True, decay=decay)
    assert model.validated + second.validated == whole.validated + 1
    assert model.trained + second.trained == whole.trained
    assert same(weights(second), weights(whole))
    assert again.fit_loop.state_dict() == trainer.fit_loop.state_dict()


def test_a_signal_in_the_last_validation_of_a_training_waits_for_its_end(tmp_path):
    model, _, stopped = run(tmp_path, max_steps=4, in_validation=send(signal.SIGTERM))
    assert (stopped.code, model.validated) == (143, ROWS)


def test_a_checkpoint_that_waits_for_a_validation_is_written_after_it(tmp_path):
    def go(folder, **changes):
        return run(folder, more=[HistoryCheckpoint(every_n_train_steps=4, keep=-1)], **changes)

    go(tmp_path, in_validation=send(signal.SIGTERM))
    assert not list((tmp_path / "checkpoints").glob("step=*.ckpt"))
    go(tmp_path, resume=True)
    assert (tmp_path / "checkpoints" / "step=000004.ckpt").exists()


def test_a_second_signal_stops_at_once_without_saving(tmp_path):
    def twice():
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    model, _, stopped = run(tmp_path, at_batch={2: twice})
    assert (stopped.code, stopped.saved) == (130, False)
    assert len(model.trained) == 2
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_outside_training_a_signal_stops_at_once_and_the_old_handlers_come_back(tmp_path):
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    interrupt = Interrupt()
    with pytest.raises(Stopped) as caught, interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (caught.value.code, caught.value.saved) == (143, False)
    model = make_model()
    trainer = make_trainer(tmp_path, [interrupt])
    with interrupt:
        trainer.fit(model, datamodule=Data())
        model.test_step = lambda *_: os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped) as caught:
            trainer.test(model, datamodule=Data(), verbose=False)
    assert caught.value.code == 130
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


def test_handlers_come_back_when_nobody_entered_it(tmp_path):
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    run(tmp_path)
    run(tmp_path / "cut", at_batch={2: send(signal.SIGINT)})
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


def test_in_another_thread_signals_are_left_alone(tmp_path):
    failures = []

    def train():
        try:
            run(tmp_path)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert failures == []
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_run_that_is_killed_goes_on_exactly_from_its_last_checkpoint(tmp_path):
    changes = {"accumulate_grad_batches": 2, "val_check_interval": 3}
    kept = {}

    def keep():  # the last checkpoint as it is when the process dies
        kept["last"] = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()

    whole, _, _ = run(tmp_path, at_batch={6: keep}, **changes)
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(kept["last"])
    second, _, _ = run(tmp_path, resume=True, **changes)
    # the validation after batch 3 is in the middle of a step, which batch 4 ends
    assert second.trained == whole.trained[4:]
    assert second.losses == whole.losses[4:]
    assert same(weights(second), weights(whole))


def test_a_run_killed_after_a_save_at_the_end_of_an_epoch_goes_on_with_the_next(tmp_path):
    """No validation was due there; the epoch is ended and the next begun as in the whole run."""
    changes = {"every": ROWS, "val_check_interval": 9}
    last = tmp_path / "checkpoints" / "last.ckpt"
    kept = {}

    def keep():
        kept["last"] = last.read_bytes()

    whole, _, _ = run(tmp_path, at_batch={ROWS + 1: keep}, **changes)
    counted = torch.load(last, weights_only=True)["loops"]["fit_loop"]
    last.write_bytes(kept["last"])
    second, _, _ = run(tmp_path, resume=True, **changes)
    assert second.trained == whole.trained[ROWS:]
    assert same(weights(second), weights(whole))
    found = torch.load(last, weights_only=True)["loops"]["fit_loop"]
    assert found["epoch_progress"] == counted["epoch_progress"]
