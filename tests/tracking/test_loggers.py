"""The loggers of `logger=`, apart from wandb's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from heed.errors import UserError
from heed.tracking import loggers
from heed.tracking.csv_logger import CsvLogger, read_metrics
from heed.tracking.tolerant import Tolerant

CONFIGS = Path(__file__).parents[2] / "configs" / "logger"
PARTS = {"run_name": "try", "task": "qa"}


@pytest.mark.parametrize("name", ["csv", "tensorboard", "wandb", "mlflow"])
def test_each_config_builds_its_logger(name, tmp_path):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert list(config) == [name]  # so that several can be chosen together
    values = config[name]
    builder = getattr(loggers, values.pop("_target_").rpartition(".")[2])
    if name == "mlflow" and importlib.util.find_spec("mlflow") is None:
        with pytest.raises(UserError, match=r"not installed; pip install 'heed-nlp\[mlflow\]'"):
            builder(run_dir=tmp_path, **PARTS, **values)
        return
    logger = builder(run_dir=tmp_path, **PARTS, **values)
    assert Path(logger.save_dir) == tmp_path
    assert list(tmp_path.iterdir()) == []  # nothing before the trainer asks


def test_a_row_for_each_call_and_a_column_for_each_metric(tmp_path):
    logger = CsvLogger(run_dir=tmp_path)
    logger.log_metrics({"train/loss": 2.5}, step=0)
    logger.save()
    logger.log_metrics({"val/bleu": 31.25, "train/loss": 1.0}, step=7)
    logger.log_metrics({"train/loss": 0.5}, step=8)
    logger.save()
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": "0", "train/loss": "2.5", "val/bleu": ""},
        {"step": "7", "train/loss": "1.0", "val/bleu": "31.25"},
        {"step": "8", "train/loss": "0.5", "val/bleu": ""},
    ]


def test_a_resumed_run_goes_on_in_its_file(tmp_path):
    first = CsvLogger(run_dir=tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.finalize("success")
    second = CsvLogger(run_dir=tmp_path)
    second.log_metrics({"a": 2.0}, step=1)
    second.save()
    second.log_metrics({"b": 3.0}, step=2)
    second.save()
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row["step"], row["a"], row["b"]) for row in rows] == [
        ("0", "1.0", ""),
        ("1", "2.0", ""),
        ("2", "", "3.0"),
    ]


def test_tensorboard_files_hold_metrics_tables_and_config(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = loggers.tensorboard_logger(run_dir=tmp_path, **PARTS)
    logger.log_hyperparams({"model": {"d_model": 7}})
    logger.log_metrics({"val/bleu": 31.25}, step=13)
    logger.log_table("val/samples", columns=["source", "prediction"], data=[["a|b", "c"]], step=13)
    logger.save()
    logger.finalize("success")
    logger.log_metrics({"test/bleu": 30.5}, step=13)  # a test follows the training
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("val/bleu")] == [(13, 31.25)]
    assert [(e.step, e.value) for e in events.Scalars("test/bleu")] == [(13, 30.5)]
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0] for tag in events.Tags()["tensors"]
    }
    assert b"| a\\|b | c |" in texts["val/samples/text_summary"]
    assert b"d_model: 7" in texts["config/text_summary"]


def test_a_tracker_that_fails_is_quiet_after_one_line(caplog):
    class Tracker(Tolerant):
        tracker = "somewhere"
        calls = 0

        def call(self):
            self.calls += 1
            raise OSError("no route\nto host")

    tracker = Tracker()
    for _ in range(3):
        assert tracker.attempt("logging", tracker.call) is None
    assert tracker.failed
    assert tracker.calls == 1
    assert [record.getMessage() for record in caplog.records] == [
        "somewhere failed (logging: no route). "
        "The run goes on without it; metrics.csv has everything."
    ]
    assert tracker.attempt("logging", lambda: 7) is None


def test_finishing_collects_what_there_is_to_say():
    class Speaks:
        def finish(self, *, succeeded):
            return f"said {succeeded}"

    class Silent:
        def finish(self, *, succeeded):
            return None

    assert loggers.finish_loggers([object(), Silent(), Speaks()], succeeded=False) == ["said False"]
