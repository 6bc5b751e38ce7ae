"""Steps whose numbers are not finite: caught before the weights, on one process."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tests.training.guarded_run import QUIET, Overflow, Training, alike, at, state

from heed.errors import RunFailed, UserError
from heed.heads.loss import Loss
from heed.tracking.csv_logger import read_metrics
from heed.training import judged_step
from heed.training.callbacks.non_finite import SPIKE_LEAST, NonFinite
from heed.training.checkpoint_io import load_checkpoint
from heed.training.faults import FOLDER, load_fault
from heed.training.replay import replay

pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return Training(tmp_path_factory.mktemp("guarded"))


def finite(run_dir) -> bool:
    weights = load_checkpoint(run_dir / "checkpoints/last.ckpt")["state_dict"]
    return all(bool(w.isfinite().all()) for w in weights.values())


def test_a_guard_that_finds_nothing_changes_nothing(training, tmp_path):
    plain, _, _ = training.run(tmp_path / "plain", None)
    guarded, _, course = training.run(tmp_path / "guarded", NonFinite(spike_factor=3.0))
    assert len(course.places) > 12
    assert alike(state(plain), state(guarded))
    assert not (tmp_path / "guarded" / FOLDER).exists()


def test_stop_says_which_step_and_keeps_it(training, tmp_path):
    with pytest.raises(RunFailed, match=r"step 6: the loss is not finite \(loss nan, ") as failure:
        training.run(tmp_path, NonFinite(), at((0, 5)))
    assert "heed replay run=" in str(failure.value)
    assert "heed train resume=" in str(failure.value)
    trainer, _, course = training.last
    assert trainer.global_step == 5
    assert alike(list(course.before[5].values()) * 3, [*trainer.lightning_module.parameters()] * 3)
    assert finite(tmp_path)
    fault, batches, weights = load_fault(tmp_path / FOLDER / "step=000006")
    assert math.isnan(fault.loss)
    assert fault.places == [(0, 5)]
    assert fault.bad_batches() == [(0, 0)]
    assert len(batches) == len(batches[0]) == 1
    assert batches[0][0].batch.source.ids.dtype == torch.int64
    for name, before in course.before[5].items():
        assert torch.equal(weights[name], before)


def test_skip_leaves_weights_and_optimizer_as_they_were(training, tmp_path, capsys):
    guard = NonFinite(action="skip")
    trainer, _, course = training.run(tmp_path, guard, at((0, 5), (0, 8)))
    for bad in (5, 8):
        before, after = course.before[bad], course.before[bad + 1]
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert any(not torch.equal(course.before[bad - 1][name], before[name]) for name in before)
    assert trainer.global_step == len(course.places)  # the step count goes on
    adam = next(iter(trainer.optimizers[0].state.values()))
    assert int(adam["step"]) == trainer.global_step - 2
    assert guard.skipped == 2
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [float(r["train/skipped_steps"]) for r in rows if r["train/skipped_steps"]][-1] == 2.0
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert [n for n, loss in enumerate(losses) if not math.isfinite(loss)] == [5, 8]
    assert "skipped (fault 2 of 5 that are borne" in capsys.readouterr().err
    assert finite(tmp_path)


def test_more_faults_than_are_borne_stop_the_run(training, tmp_path):
    with pytest.raises(RunFailed, match=r"step 7: .*\n(.*\n)*.*most=1 faults have been borne"):
        training.run(tmp_path, NonFinite(action="skip", most=1), at((0, 3), (0, 6)))


def test_roll_back_equals_a_run_without_the_batch(training, tmp_path):
    guard = NonFinite(action="roll_back")
    rolled, parts, course = training.run(tmp_path / "rolled", guard, at((0, 7)))
    without, _, reference = training.run(tmp_path / "without", NonFinite(), left_out=[(0, 7)])
    assert guard.faults == 1
    assert course.places == [(0, p) for p in range(8)] + [
        (0, p) for p in range(6, 1 + max(reference.places)[1]) if p != 7
    ]
    assert (0, 7) not in reference.places
    assert rolled.global_step == without.global_step == len(reference.places)
    assert alike(state(rolled), state(without))
    assert finite(tmp_path / "rolled")
    kept = load_checkpoint(tmp_path / "rolled/checkpoints/last.ckpt")
    (data,) = (value for key, value in kept.items() if "DataModule" in key)
    assert data["left_out"] == [[0, 7]]


def test_faults_stay_counted_when_training_goes_back(training, tmp_path):
    guard = NonFinite(action="roll_back", most=2)
    with pytest.raises(RunFailed, match=r"step 6: .*\n(.*\n)*.*most=2 faults have been borne"):
        training.run(tmp_path, guard, at(*((0, position) for position in range(5, 20))))
    assert guard.faults == 3
    assert [fault["step"] for fault in guard.found] == [6, 6, 6]
    assert len(list((tmp_path / FOLDER).iterdir())) == 3


def test_roll_back_before_the_first_checkpoint_goes_back_to_the_start(training, tmp_path):
    guard = NonFinite(action="roll_back")
    rolled, _, _ = training.run(tmp_path / "rolled", guard, at((0, 1)), every=None)
    without, _, _ = training.run(tmp_path / "without", NonFinite(), left_out=[(0, 1)])
    assert alike(state(rolled), state(without))


def test_a_later_resume_leaves_the_batch_out_too(training, tmp_path):
    spoil = at((0, 4), (1, 2))
    whole, _, _ = training.run(
        tmp_path / "whole", NonFinite(action="roll_back"), spoil, max_epochs=2
    )
    first, _, course = training.run(
        tmp_path / "parts", NonFinite(action="roll_back"), spoil, max_epochs=2, max_steps=9
    )
    checkpoint = tmp_path / "parts/checkpoints/last.ckpt"
    second, parts, _ = training.run(
        tmp_path / "parts", NonFinite(), at((1, 2)), checkpoint=checkpoint, max_epochs=2,
        left_out=[(1, 2)],
    )  # fmt: skip
    assert first.global_step == 9
    assert parts.datamodule.state_dict()["left_out"] == [[0, 4], [1, 2]]
    assert alike(state(second), state(whole))


@pytest.mark.parametrize("bad", [1, 2])
def test_a_bad_batch_among_accumulated_ones(training, tmp_path, bad):
    """Steps of three batches: the step is left out as a whole."""
    places = [(0, 3 + number) for number in range(3)]
    guard = NonFinite(action="roll_back")
    rolled, _, _ = training.run(
        tmp_path / "rolled", guard, at(places[bad]), accumulate_grad_batches=3, every=1
    )
    without, _, reference = training.run(
        tmp_path / "without", NonFinite(), left_out=places, accumulate_grad_batches=3
    )
    assert alike(state(rolled), state(without))
    assert not set(places) & set(reference.places)
    fault, batches, _ = load_fault(tmp_path / "rolled" / FOLDER / "step=000002")
    assert fault.places == places
    assert fault.bad_batches() == [(0, bad)]
    assert len(batches[0]) == 3
    assert f"from batch {bad + 1} of 3" in fault.sentence()


def test_an_epoch_that_loses_its_last_batch_still_ends_with_step_and_validation(training, tmp_path):
    batches = len(training.parts.datamodule._new_train_sampler())
    trainer, parts, course = training.run(
        tmp_path, NonFinite(), left_out=[(0, batches - 1), (0, 2)], max_epochs=2,
        limit_val_batches=1, accumulate_grad_batches=2, every=None,
    )  # fmt: skip
    first = [place for place in course.places if place[0] == 0]
    assert len(first) == batches - 2
    assert trainer.global_step == math.ceil((batches - 2) / 2) + math.ceil(batches / 2)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert len([row for row in rows if row["val/loss"]]) == 2
    assert len([p for p in course.places if p[0] == 1]) == batches
    assert parts.datamodule.state_dict()["epoch"] == 2


def test_infinite_gradients_of_a_finite_loss(training, tmp_path):
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    def spoil(task, loss, place):
        return Loss(Steep.apply(loss.sum), loss.count) if place == (0, 4) else loss

    with pytest.raises(RunFailed, match="step 5: the gradient is not finite"):
        training.run(tmp_path, NonFinite(), spoil)


def test_spikes_are_faults_when_asked_for(training, tmp_path):
    spoil = at((0, SPIKE_LEAST + 1), factor=5.0)
    _, _, calm = training.run(tmp_path / "calm", NonFinite(), spoil)
    assert not (tmp_path / "calm" / FOLDER).exists()
    guard = NonFinite(action="skip", spike_factor=3.0)
    training.run(tmp_path / "spike", guard, spoil)
    (folder,) = (tmp_path / "spike" / FOLDER).iterdir()
    said = json.loads((folder / "fault.json").read_text())
    assert f"step={SPIKE_LEAST + 2:06d}" == folder.name
    assert "times the median" in said["cause"]


def test_the_losses_that_spikes_are_measured_by_are_kept(training, tmp_path):
    guard = NonFinite(spike_factor=3.0)
    training.run(tmp_path, guard, max_steps=7)
    state_of_guard = load_checkpoint(tmp_path / "checkpoints/last.ckpt")["callbacks"]["NonFinite"]
    assert len(state_of_guard["losses"]) == 7
    other = NonFinite(spike_factor=3.0)
    other.load_state_dict(state_of_guard)
    assert list(other._losses) == list(guard._losses)


def test_no_checkpoint_of_weights_that_overflowed(training, tmp_path):
    """An update from finite gradients that makes infinite weights is seen when it is saved."""

    def spoil(task, loss, place):
        if place == (0, 5):
            task.trainer.optimizers[0].param_groups[0]["lr"] = float("inf")
        return loss

    with pytest.raises(RunFailed, match="after step 6 the weights are not finite"):
        training.run(tmp_path, NonFinite(), spoil)
    assert finite(tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 3


FEED_FORWARD = "backbone.encoder.layers.0.feed_forward.input"


def test_skipping_does_not_help_weights_that_are_not_finite(training, tmp_path):
    with pytest.raises(RunFailed, match="skipping would not help"):
        training.run(
            tmp_path,
            NonFinite(action="skip"),
            others=[Overflow(FEED_FORWARD, (0, 4), float("inf"))],
        )


def test_the_finder_names_the_module_and_its_weights(training, tmp_path):
    with pytest.raises(RunFailed, match="step 4: a number is not finite") as failure:
        training.run(
            tmp_path,
            NonFinite(find_module=True),
            others=[Overflow(FEED_FORWARD, (0, 3), float("nan"))],
        )
    assert f"{FEED_FORWARD} (Linear) made" in str(failure.value)
    assert f"its weights are not finite: {FEED_FORWARD}.weight" in str(failure.value)


def test_the_finder_sees_what_never_reaches_the_loss(training, tmp_path):
    """A number that overflows in one place and is lost in the next."""

    def spoil(task, loss, place):
        if place == (0, 3):
            task.head.output(torch.full((1, 22), math.inf)).tanh()
        return loss

    training.run(tmp_path / "unseen", NonFinite(), spoil)
    with pytest.raises(RunFailed, match=r"step 4: a number is not finite .*\n.*head\.output"):
        training.run(tmp_path / "seen", NonFinite(find_module=True), spoil)


def test_a_replay_repeats_the_step_with_its_random_numbers(training, tmp_path):
    """Its loss and gradient are those of training, over the batches of a step, dropout and all."""
    spoil = at((0, 4), factor=math.nan)
    with pytest.raises(RunFailed):
        training.run(tmp_path / "bad", NonFinite(), spoil, accumulate_grad_batches=3)
    fault, batches, weights = load_fault(tmp_path / "bad" / FOLDER / "step=000002")
    training.run(tmp_path / "good", NonFinite(), accumulate_grad_batches=3, max_steps=2)
    rows = read_metrics(tmp_path / "good/metrics.csv")
    loss, norm = (
        [float(row["train/loss"]) for row in rows],
        [float(row["train/gradient_norm"]) for row in rows],
    )
    parts = training.new_parts()
    parts.task.load_state_dict(weights)
    trainer = training.trainer(tmp_path / "replay", [], accumulate_grad_batches=3)
    replayed = replay(parts.task, trainer, fault, batches)
    assert replayed.loss == pytest.approx(loss[1], rel=1e-6)
    assert replayed.gradient_norm == pytest.approx(norm[1], rel=1e-5)
    assert replayed.finding is None
    assert replayed.losses[0][0] == fault.losses[0][0]  # to the last bit
    assert math.isnan(fault.losses[0][1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"action": "skp"}, "action must be one of stop, skip, roll_back, but is 'skp'"),
        ({"most": -1}, "most must be at least 0, but is -1"),
        ({"spike_factor": 1.0}, "spike_factor must be more than 1, but is 1.0"),
    ],
)
def test_bad_values(values, words):
    with pytest.raises(UserError, match=words):
        NonFinite(**values)


@pytest.fixture
def late(monkeypatch):
    """As on a GPU: numbers are read a step late."""
    monkeypatch.setattr(judged_step, "LATE", ("cpu",))


@pytest.mark.usefixtures("late")
def test_a_late_guard_that_finds_nothing_changes_nothing(training, tmp_path):
    plain, _, _ = training.run(tmp_path / "plain", None, log_every_n_steps=20)
    guarded, _, _ = training.run(tmp_path / "guarded", NonFinite(), log_every_n_steps=20)
    assert alike(state(plain), state(guarded))
    assert not hasattr(guarded.optimizers[0], "found_inf")


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize(("every", "begun"), [(20, 7), (3, 6), (1, 6)])
def test_a_late_guard_stops_before_the_next_step(training, tmp_path, every: int, begun: int):
    """With nothing of the fault in weights, log or checkpoint; at a log line it is not late."""
    with pytest.raises(RunFailed, match=r"step 6: the loss is not finite \(loss nan, "):
        training.run(tmp_path, NonFinite(), at((0, 5)), log_every_n_steps=every, every=4)
    trainer, _, course = training.last
    assert len(course.places) == begun
    assert alike(list(course.before[5].values()) * 3, [*trainer.lightning_module.parameters()] * 3)
    adam = next(iter(trainer.optimizers[0].state.values()))
    assert int(adam["step"]) == 5
    fault, _, weights = load_fault(tmp_path / FOLDER / "step=000006")
    assert fault.places == [(0, 5)]
    assert fault.bad_batches() == [(0, 0)]
    assert all(torch.equal(weights[name], before) for name, before in course.before[5].items())
    assert finite(tmp_path)
    rows = read_metrics(tmp_path / "metrics.csv") if (tmp_path / "metrics.csv").exists() else []
    assert all(math.isfinite(float(row["train/loss"])) for row in rows if row["train/loss"])


@pytest.mark.usefixtures("late")
def test_a_late_guard_judges_before_a_checkpoint_and_at_the_end(training, tmp_path):
    with pytest.raises(RunFailed, match="step 6: the loss"):
        training.run(tmp_path / "saved", NonFinite(), at((0, 5)), log_every_n_steps=20, every=6)
    assert not (tmp_path / "saved/checkpoints/last.ckpt").exists()
    with pytest.raises(RunFailed, match="step 6: the loss"):
        training.run(
            tmp_path / "end", NonFinite(), at((0, 5)), log_every_n_steps=20, every=None, max_steps=6
        )
