"""Callbacks in a real, small training."""

from __future__ import annotations

import importlib
import inspect
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from tiny_run import QUIET, ROWS, Data, make_model, make_trainer, same, weights

from heed.errors import UserError
from heed.tracking.csv_logger import CsvLogger, read_metrics
from heed.training.callbacks.checkpoint import BestCheckpoint, best_checkpoint
from heed.training.callbacks.early_stopping import EarlyStopping, early_stopping
from heed.training.callbacks.ema import ExponentialMovingAverage, ema
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint
from heed.training.callbacks.progress import PlainProgress, progress, readable, short_number
from heed.training.callbacks.sample_predictions import SamplePredictions
from heed.training.callbacks.step_metrics import StepMetrics
from heed.training.callbacks.throughput import Throughput
from heed.training.checkpoint_io import load_checkpoint

pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]
CONFIGS = Path(__file__).parents[2] / "configs" / "callbacks"


def names(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_the_default_config_builds_every_callback():
    config = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    for key, values in config.items():
        module, _, name = values.pop("_target_").rpartition(".")
        target = getattr(importlib.import_module(module), name)
        assert values.keys() == inspect.signature(target).parameters.keys(), key
        if "monitor" in values:
            values.update(monitor="val/score", mode="max")
        built = target(**values)
        assert (built is None) == (key in {"ema", "early_stopping", "history", "trace"})
    assert list(config)[-4:] == ["checkpoint", "last", "history", "interrupt"]


def test_best_and_last_checkpoints_are_kept_by_plain_names(tmp_path):
    model = make_model(scores=[10.0, 31.256, 20.0, 5.0, 30.0, 1.0])
    callbacks = [BestCheckpoint(monitor="val/score", mode="max", save_top_k=2), LastCheckpoint()]
    trainer = make_trainer(tmp_path, callbacks)
    trainer.fit(model, datamodule=Data())
    best = "step=000008-val_score=31.26.ckpt"
    assert names(tmp_path) == [
        "last.ckpt",
        "previous.ckpt",
        best,
        "step=000020-val_score=30.ckpt",
    ]
    assert best_checkpoint(trainer) == tmp_path / "checkpoints" / best
    last = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 2 * ROWS
    assert str(tmp_path) not in repr(last["callbacks"])


def test_a_moved_run_goes_on_with_its_best_checkpoint(tmp_path):
    callbacks = [BestCheckpoint(monitor="val/score", mode="min"), LastCheckpoint()]
    trainer = make_trainer(tmp_path / "a", callbacks, max_epochs=1)
    trainer.fit(make_model(scores=[3.0, 1.0, 2.0]), datamodule=Data())
    (tmp_path / "a").rename(tmp_path / "b")
    callbacks = [BestCheckpoint(monitor="val/score", mode="min"), LastCheckpoint()]
    trainer = make_trainer(tmp_path / "b", callbacks)
    model = make_model(scores=[1.5, 1.2, 1.1, 1.6])
    trainer.fit(model, datamodule=Data(), ckpt_path=str(tmp_path / "b/checkpoints/last.ckpt"))
    assert names(tmp_path / "b") == ["last.ckpt", "previous.ckpt", "step=000008-val_score=1.ckpt"]
    assert best_checkpoint(trainer) == tmp_path / "b/checkpoints/step=000008-val_score=1.ckpt"


def test_without_a_validation_the_last_is_the_best(tmp_path):
    callbacks = [BestCheckpoint(monitor="val/score", mode="max"), LastCheckpoint()]
    trainer = make_trainer(tmp_path, callbacks, max_steps=3, max_epochs=-1)
    assert best_checkpoint(trainer) is None
    trainer.fit(make_model(), datamodule=Data())
    assert names(tmp_path) == ["last.ckpt"]
    assert best_checkpoint(trainer) == tmp_path / "checkpoints" / "last.ckpt"


def test_the_last_checkpoint_can_come_between_validations(tmp_path):
    steps = []
    callback = LastCheckpoint(every_n_train_steps=5)
    trainer = make_trainer(tmp_path, [callback], val_check_interval=ROWS, max_epochs=1)
    save = trainer.save_checkpoint
    trainer.save_checkpoint = lambda *a, **k: (steps.append(trainer.global_step), save(*a, **k))
    trainer.fit(make_model(), datamodule=Data())
    assert steps == [5, 10, 13]


def test_a_score_that_validation_does_not_log_is_named(tmp_path):
    for callback in (
        BestCheckpoint(monitor="val/skore", mode="max"),
        EarlyStopping(monitor="val/skore", mode="max", patience=1),
    ):
        trainer = make_trainer(tmp_path, [callback])
        words = r"task.monitor must be a score that validation logs, but is 'val/skore'; did you"
        with pytest.raises(UserError, match=words):
            trainer.fit(make_model(), datamodule=Data())


def test_training_stops_when_the_score_does(tmp_path):
    callback = early_stopping(monitor="val/score", mode="max", patience=2)
    model = make_model(scores=[1.0, 2.0, 1.9, 2.0, 3.0, 4.0])
    make_trainer(tmp_path, [callback]).fit(model, datamodule=Data())
    assert len(model.trained) == 4 * 4
    assert early_stopping(monitor="val/score", mode="max", patience=None) is None
    with pytest.raises(UserError, match="patience must be at least 1, but is 0"):
        early_stopping(monitor="val/score", mode="max", patience=0)


def test_the_moving_average_is_the_one_of_the_formula(tmp_path):
    class ByHand(Callback):
        def __init__(self):
            self.average, self.steps = None, 0

        def on_train_batch_end(self, trainer, module, *_):
            now = {name: value.double() for name, value in weights(module).items()}
            if self.average is None:
                self.average = now  # the first update takes the weights as they are
            else:
                decay = min(0.6, (1 + self.steps) / (10 + self.steps))
                self.average = {
                    name: decay * self.average[name] + (1 - decay) * now[name] for name in now
                }
            self.steps += 1
            self.raw = weights(module)

    by_hand, best = ByHand(), BestCheckpoint(monitor="val/score", mode="max")
    callbacks = [by_hand, ema(decay=0.6), best, LastCheckpoint()]
    model = make_model(scores=[1.0, 2.0, 3.0, 4.0, 5.0, 0.0])
    trainer = make_trainer(tmp_path, callbacks)
    trainer.fit(model, datamodule=Data())
    for name, value in weights(model).items():
        torch.testing.assert_close(value.double(), by_hand.average[name], rtol=1e-5, atol=1e-6)
    last = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert same(last["state_dict"], weights(model))
    assert same(last["current_model_state"], by_hand.raw)
    # a test with the best checkpoint uses its average, in the trainer that has another by now
    path = best_checkpoint(trainer)
    trainer.test(model, datamodule=Data(), ckpt_path=str(path), verbose=False)
    assert same(weights(model), load_checkpoint(path)["state_dict"])
    assert not same(weights(model), last["state_dict"])


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(UserError, match=r"callbacks.ema.decay must be between 0 and 1"):
        ExponentialMovingAverage(decay=decay)


def test_throughput_counts_real_tokens_and_padding(tmp_path):
    callback, logger = Throughput(), CsvLogger(run_dir=tmp_path)
    callbacks = [callback, StepMetrics()]
    trainer = make_trainer(tmp_path, callbacks, logger=logger, accumulate_grad_batches=2)
    trainer.fit(make_model(), datamodule=Data())
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if row["train/tokens_seen"]]
    # 7 steps an epoch, the last of one batch; a line at steps 3, 6, 9 and 12
    assert [float(row["train/tokens_seen"]) for row in rows] == [7 * n for n in (6, 12, 17, 23)]
    for row in rows:
        assert float(row["train/padding_share"]) == pytest.approx(4 / 11)
        assert 0 <= float(row["train/data_wait_share"]) < 1
        speed = float(row["train/tokens_per_second"]) * float(row["train/step_seconds"])
        assert speed in [pytest.approx(7 * n / 3) for n in (5, 6)]
    summary = callback.summary()
    assert summary["tokens"] == 7 * 2 * ROWS
    assert summary["token_positions"] == 11 * 2 * ROWS
    assert summary["padding_share"] == pytest.approx(4 / 11, abs=1e-4)


def test_throughput_takes_the_loaders_word_for_what_was_waited(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock, callback = Clock(), Throughput()
    monkeypatch.setattr("heed.training.callbacks.throughput.time", clock)
    loader = SimpleNamespace(waited_seconds=0.0)
    trainer = SimpleNamespace(global_step=0, train_dataloader=loader)
    model = SimpleNamespace(device=torch.device("cpu"))
    batch = SimpleNamespace(real_tokens=5, token_positions=6)
    callback.on_train_start(trainer, model)
    for _ in range(4):
        loader.waited_seconds += 0.5  # of two seconds between the steps
        clock.now += 2.0
        callback.on_train_batch_start(trainer, model, batch, 0)
        clock.now += 8.0
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, model, None, batch, 0)
    assert callback.step_metrics()["train/data_wait_share"] == pytest.approx(4 * 0.5 / 40)
    callback.on_train_end(trainer, model)
    assert callback.summary()["data_wait_share"] == pytest.approx(0.05)


def test_throughput_leaves_validation_out_of_the_time(tmp_path):
    callback, model = Throughput(), make_model()
    model.on_validation_epoch_start = lambda: time.sleep(0.4)
    make_trainer(tmp_path, [callback], max_epochs=1).fit(model, datamodule=Data())
    assert callback.summary()["seconds"] < 1.0  # three validations took 1.2


def test_samples_are_written_for_people_and_loggers(tmp_path):
    tables = []

    class Shows(CsvLogger):
        def log_table(self, key, columns, data, step):
            tables.append((key, columns, data, step))

    model = make_model()
    trainer = make_trainer(
        tmp_path, [SamplePredictions(n=3)], logger=Shows(run_dir=tmp_path), max_epochs=1
    )
    trainer.fit(model, datamodule=Data())
    trainer.validate(model, datamodule=Data(), verbose=False)
    files = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert files == ["step=000004-val.md", "step=000008-val.md", "step=000012-val.md"] + [
        "step=000013-val.md"
    ]
    lines = (tmp_path / "samples" / files[0]).read_text().splitlines()
    assert lines[2:5] == ["| source | prediction |", "| --- | --- |", "| a\\|b | p0 |"]
    assert len(lines) == 4 + 3
    assert tables[0] == (
        "val/samples",
        ["source", "prediction"],
        [["a|b", "p0"], ["a|b", "p1"], ["a|b", "p2"]],
        4,
    )


def test_where_there_is_no_terminal_progress_is_a_line(tmp_path, capsys):
    callback = progress()
    assert isinstance(callback, PlainProgress)
    model = make_model(scores=[31.256])
    trainer = make_trainer(tmp_path, [callback], max_steps=4, max_epochs=-1)
    trainer.fit(model, datamodule=Data())
    trainer.test(model, datamodule=Data(), verbose=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert lines[0] == "step 4 of 4  validation  val score 31.26  (0:00:00)"
    assert lines[1].startswith("step 4 of 4  test  test loss ")


def test_on_a_terminal_it_is_bars(tmp_path, monkeypatch, capsys):
    from heed.training.callbacks.progress import RichProgress

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    callback = progress(refresh_rate=5)
    assert isinstance(callback, RichProgress)
    model = make_model(scores=[31.256])
    trainer = make_trainer(tmp_path, [callback], max_steps=4, max_epochs=-1)
    trainer.fit(model, datamodule=Data())
    assert callback.get_metrics(trainer, model)["val score"] == "31.26"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (31.2567, "31.26"),
        (-0.01234567, "-0.01235"),
        (12345.0, "12.3k"),
        (4_560_000, "4.56M"),
        (1.2e-5, "1.2e-05"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_short(value, text):
    assert short_number(value) == text


def test_names_are_short():
    metrics = {"train/loss": 2.0, "train/tokens_per_second": 12345.0, "val/bleu": 1.5, "v_num": 3}
    assert readable(metrics) == {"loss": "2", "tokens per second": "12.3k", "val bleu": "1.5"}


def test_a_config_of_an_earlier_version_builds_its_last_checkpoint():
    """Frozen configs name the class where it was."""
    from heed.commands.signatures import signature_of
    from heed.training.callbacks import checkpoint

    assert checkpoint.LastCheckpoint is LastCheckpoint
    target = "heed.training.callbacks.checkpoint.LastCheckpoint"
    assert "keep_previous" in signature_of(target, "callbacks.last").parameters
