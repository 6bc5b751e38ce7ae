"""A step is the same however its examples are cut up, and what is logged about it is true.

Plain SGD with learning rate 1, so that the change of a weight is its gradient.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from heed.commands.assemble import assemble
from heed.commands.compose import compose
from heed.data.preparation import columns_of
from heed.tracking.csv_logger import CsvLogger, read_metrics
from heed.training.trainer import build_trainer

pytestmark = [
    pytest.mark.filterwarnings(words)
    for words in (
        "ignore:.*does not have many workers",
        "ignore:.*LeafSpec.* is deprecated",
        "ignore:.*Trying to infer the `batch_size`",
        "ignore:.*You defined a `validation_step` but have no `val_dataloader`",
    )
]
OVERRIDES = (
    "data=builtin",
    "data.source.train_size=61",
    "data.source.validation_size=17",
    "data.source.test_size=11",
    "tokenizer.vocabulary_size=401",
    "model.d_model=22",
    "model.n_heads=2",
    "model.d_feed_forward=37",
    "model.n_layers=1",
    "model.dropout=0.0",
    "optimizer=sgd",
    "optimizer.momentum=0.0",
    "optimizer.lr=1.0",
    "scheduler=constant",
    "scheduler.warmup_steps=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.gradient_clip_val=null",
    "trainer.log_every_n_steps=1",
    "trainer.max_epochs=1",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return compose("train", [*OVERRIDES, f"paths.cache_dir={tmp_path_factory.mktemp('cache')}"])


@pytest.fixture(scope="module")
def parts(config):
    torch.manual_seed(5)
    return assemble(config)


@pytest.fixture(scope="module")
def batch_of(parts):
    """`batch_of(3, 5)` is a batch of validation records 3 and 4, `lengths` of their own."""
    corpus = parts.corpus.records("validation")

    def make(first, past):
        records = [corpus[number] for number in range(first, past)]
        preparation = parts.datamodule.preparation
        columns = preparation.encode(columns_of(records), range(len(records)), training=False)
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return preparation.collate(rows, records)

    return make


@pytest.fixture
def fit(config, parts, tmp_path):
    """`fit(batches, max_steps=1)` trains a copy of the task; returns it and its metrics rows."""

    def run(batches, validation=None, learning_rate=1.0, **changes):
        task = copy.deepcopy(parts.task)
        make_optimizer = task.make_optimizer
        task.make_optimizer = lambda module: make_optimizer(module, lr=learning_rate)
        values = {k: v for k, v in config["trainer"].items() if k != "_target_"}
        logger = CsvLogger(run_dir=tmp_path)
        trainer = build_trainer(
            **{**values, **changes}, callbacks=[], loggers=[logger], run_dir=tmp_path
        )
        trainer.fit(
            task,
            train_dataloaders=DataLoader(batches, batch_size=None),
            val_dataloaders=DataLoader(validation, batch_size=None) if validation else None,
        )
        rows = read_metrics(logger.path)
        logger.path.unlink()
        return task, rows

    return run


def mean_gradient(task, *batches):
    """Loss and gradients of the mean over all tokens of some batches, by autograd alone."""
    task = copy.deepcopy(task).train()
    losses = [task.loss(batch) for batch in batches]
    mean = sum(loss.sum for loss in losses) / sum(loss.count for loss in losses)
    mean.backward()
    gradients = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
    return float(mean.detach()), gradients


def norm_of(gradients) -> float:
    return float(torch.stack([g.pow(2).sum() for g in gradients.values()]).sum().sqrt())


def changes(before, after):
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return {name: (old - new).detach() for (name, old), new in pairs}


def column(rows, name):
    return [float(row[name]) for row in rows if row.get(name)]


def close(found, expected, atol=1e-6):
    assert expected
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=atol), name


def test_accumulated_batches_take_the_step_of_one_batch(parts, batch_of, fit):
    whole, few, many = batch_of(0, 7), batch_of(0, 2), batch_of(2, 7)
    assert few.target.real_tokens * 1.5 < many.target.real_tokens  # means of means would differ
    loss, gradient = mean_gradient(parts.task, whole)
    one, rows = fit([whole], max_steps=1)
    two, rows_of_two = fit([few, many], max_steps=1, accumulate_grad_batches=2)
    close(changes(parts.task, one), gradient)
    close(changes(parts.task, two), gradient)
    for found in (rows, rows_of_two):
        assert column(found, "train/loss") == pytest.approx([loss], rel=1e-5)
        assert column(found, "train/gradient_norm") == pytest.approx([norm_of(gradient)], rel=1e-4)
        assert column(found, "train/learning_rate") == [1.0]


def test_batches_left_over_at_the_end_of_an_epoch_make_a_step_of_their_own(parts, batch_of, fit):
    first, last = [batch_of(0, 2), batch_of(2, 7)], batch_of(7, 10)
    trained, rows = fit([*first, last], accumulate_grad_batches=2, learning_rate=0.1)
    by_hand = copy.deepcopy(parts.task)
    losses = []
    for batches in (first, [last]):
        loss, gradient = mean_gradient(by_hand, *batches)
        losses.append(loss)
        with torch.no_grad():
            for name, parameter in by_hand.named_parameters():
                parameter -= 0.1 * gradient[name]
    close(dict(trained.named_parameters()), dict(by_hand.named_parameters()))
    assert column(rows, "train/loss") == pytest.approx(losses, rel=1e-5)


def test_clipping_acts_on_the_mean_gradient(parts, batch_of, fit):
    _, gradient = mean_gradient(parts.task, batch_of(0, 7))
    norm = norm_of(gradient)
    batches = [batch_of(0, 2), batch_of(2, 7)]
    loose, _ = fit(batches, max_steps=1, accumulate_grad_batches=2, gradient_clip_val=2 * norm)
    close(changes(parts.task, loose), gradient)
    tight, rows = fit(batches, max_steps=1, accumulate_grad_batches=2, gradient_clip_val=norm / 3)
    close(changes(parts.task, tight), {n: g / 3 for n, g in gradient.items()})
    # What is logged is the norm before clipping.
    assert column(rows, "train/gradient_norm") == pytest.approx([norm], rel=1e-4)


def test_logged_loss_is_the_mean_over_all_tokens_since_the_last_line(parts, batch_of, fit):
    batches = [batch_of(0, 2), batch_of(2, 7), batch_of(7, 8), batch_of(8, 13)]
    _, rows = fit(batches, learning_rate=0.0, log_every_n_steps=2)
    expected = [
        mean_gradient(parts.task, *batches[:2])[0],
        mean_gradient(parts.task, *batches[2:])[0],
    ]
    assert column(rows, "train/loss") == pytest.approx(expected, rel=1e-5)
    steps = [int(row["step"]) for row in rows if row["train/loss"]]
    assert len(column(rows, "train/gradient_norm")) == len(column(rows, "train/learning_rate")) == 2
    assert steps[1] - steps[0] == 2


def test_the_last_step_is_followed_by_a_validation(batch_of, fit):
    batches = [batch_of(first, first + 2) for first in range(0, 12, 2)]
    validation = [batch_of(0, 3)]
    task, rows = fit(batches, validation, max_steps=4, learning_rate=0.01)  # in mid-epoch
    with torch.no_grad():
        loss = task.eval().loss(validation[0])
    assert column(rows, "val/loss") == pytest.approx([float(loss.sum / loss.count)], rel=1e-5)


def test_the_schedule_is_stepped_once_an_optimizer_step(parts, batch_of, fit):
    """Warm-up counts optimizer steps, whatever is accumulated."""
    task = parts.task
    make_scheduler = task.make_scheduler
    task.make_scheduler = lambda optimizer, total_steps: make_scheduler(
        optimizer, total_steps=total_steps, warmup_steps=4
    )
    try:
        batches = [batch_of(first, first + 1) for first in range(6)]
        _, rows = fit(batches, accumulate_grad_batches=2, learning_rate=0.4)
    finally:
        task.make_scheduler = make_scheduler
    # After each of three steps, the rate of the next.
    assert column(rows, "train/learning_rate") in (
        pytest.approx([0.2, 0.3, 0.4]),
        pytest.approx([0.1, 0.2, 0.3]),
    )
