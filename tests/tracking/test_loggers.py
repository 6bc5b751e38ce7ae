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
    if name == "mlflow":
        values["store"] = str(tmp_path / "mlflow.db")
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


def test_rows_and_columns_after_a_checkpoint_are_dropped_when_its_run_goes_on(tmp_path):
    first = CsvLogger(run_dir=tmp_path)
    first.log_metrics({"a": 1.0}, step=1)
    first.log_metrics({"a": 2.0}, step=2)
    first.save()
    place = first.place(2)
    first.log_metrics({"a": 9.0}, step=3)
    first.log_metrics({"b": 9.0}, step=3)
    first.save()
    second = CsvLogger(run_dir=tmp_path)
    second.go_to(place)
    assert first.path.read_text() == "step,a\n1,1.0\n2,2.0\n"
    second.log_metrics({"c": 3.0}, step=3)
    second.save()
    assert read_metrics(tmp_path / "metrics.csv")[1:] == [
        {"step": "2", "a": "2.0", "c": ""},
        {"step": "3", "a": "", "c": "3.0"},
    ]
    assert second.place(3) == {"columns": ["step", "a", "c"], "rows": 3}
    second.go_to(second.place(3))  # nothing came after it
    third = CsvLogger(run_dir=tmp_path)
    third.go_to({"columns": [], "rows": 0})
    third.log_metrics({"d": 1.0}, step=1)
    third.save()
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": "1", "d": "1.0"}]


def test_tensorboard_forgets_what_came_after_a_checkpoint(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = loggers.tensorboard_logger(run_dir=tmp_path, **PARTS)
    for step in (1, 2, 3, 4):
        first.log_metrics({"loss": 10.0 + step}, step=step)
    first.save()  # and killed: no end is written
    second = loggers.tensorboard_logger(run_dir=tmp_path, **PARTS)
    second.log_hyperparams({"seed": 1})
    second.go_to({"step": 2})
    for step in (3, 4, 5):
        second.log_metrics({"loss": 20.0 + step}, step=step)
    second.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("loss")]
    assert points == [(1, 11.0), (2, 12.0), (3, 23.0), (4, 24.0), (5, 25.0)]


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs heed-nlp[mlflow]")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, in MLflow's own code
def test_mlflow_keeps_each_step_of_a_resumed_run_once(tmp_path):
    first = loggers.mlflow_logger(run_dir=tmp_path, **PARTS)
    for step in (1, 2, 3):
        first.log_metrics({"loss": 10.0 + step}, step=step)
    first.finish(succeeded=False)
    second = loggers.mlflow_logger(run_dir=tmp_path, **PARTS)
    second.go_to(first.place(1))
    for step in (2, 3, 4):
        second.log_metrics({"loss": 10.0 + step}, step=step)
    second.log_metrics({"val/loss": 1.0}, step=3)
    second.finish()
    client, run = second.experiment, second.version
    assert first.version == run
    points = [(point.step, point.value) for point in client.get_metric_history(run, "loss")]
    assert sorted(points) == [(1, 11.0), (2, 12.0), (3, 13.0), (4, 14.0)]
    assert len(client.get_metric_history(run, "val/loss")) == 1
    assert len(client.search_runs([client.get_run(run).info.experiment_id])) == 1


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
