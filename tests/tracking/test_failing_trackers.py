"""Trackers whose server, disk or folder fails: one line is said, and nobody waits."""

from __future__ import annotations

import importlib.util
import socket
import threading

import pytest

from heed.tracking import loggers, mlflow_logger
from heed.tracking.background import Background

PARTS = {"run_name": "try", "task": "qa"}
needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs heed-nlp[mlflow]"
)


def log_a_run(logger):
    logger.log_hyperparams({"model": {"d_model": 7}})
    for step in range(1, 4):
        logger.log_metrics({"train/loss": 1 / step}, step=step)
    logger.save()
    logger.log_table("val/samples", columns=["prediction"], data=[["Haus"]], step=3)
    logger.finalize("success")


def test_nobody_waits_for_what_is_done_in_the_background():
    work, began, goes_on, order = Background("x"), threading.Event(), threading.Event(), []

    def slow():
        began.set()
        goes_on.wait()
        order.append("slow")

    work.submit(slow)  # returns, though it cannot end
    work.submit(lambda: order.append("next"))
    began.wait()
    assert not work.drain(0.0)
    assert order == []
    goes_on.set()
    assert work.drain(60.0)
    assert order == ["slow", "next"]


def test_nothing_begun_is_nothing_to_wait_for():
    assert Background("x").drain(0.0)


@pytest.mark.parametrize("fault", ["no folder", "disk full"])
def test_tensorboard_that_cannot_write(tmp_path, monkeypatch, caplog, fault):
    if fault == "no folder":
        (tmp_path / "tensorboard").write_text("a file in the way")
    else:
        from tensorboard.summary.writer import record_writer

        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    logger = loggers.tensorboard_logger(run_dir=tmp_path, **PARTS)
    log_a_run(logger)
    assert logger.failed
    assert loggers.finish_loggers([logger]) == []
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("tensorboard failed (")
    assert line.endswith("The run goes on without it; metrics.csv has everything.")


@needs_mlflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fault", ["no folder", "no database", "no server"])
def test_mlflow_that_cannot_be_reached(tmp_path, monkeypatch, caplog, fault):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if fault == "no server":
        with socket.create_server(("127.0.0.1", 0)) as listening:
            store = f"http://127.0.0.1:{listening.getsockname()[1]}"
    else:
        place = tmp_path / "in the way"
        place.write_text("no database")
        store = str(place if fault == "no database" else place / "mlflow.db")
    logger = loggers.mlflow_logger(run_dir=tmp_path, store=store, **PARTS)
    log_a_run(logger)
    assert loggers.finish_loggers([logger]) == []
    assert logger.failed
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("heed")]
    assert len(lines) == 1
    assert lines[0].startswith("mlflow failed (starting a run: ")


@needs_mlflow
def test_mlflow_that_never_answers(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mlflow_logger, "FINISH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes connections, says nothing
        store = f"http://127.0.0.1:{listening.getsockname()[1]}"
        logger = loggers.mlflow_logger(run_dir=tmp_path, store=store, **PARTS)
        log_a_run(logger)
        assert loggers.finish_loggers([logger]) == []
    assert "mlflow did not answer within" in caplog.text


@needs_mlflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_keeps_artifacts_inputs_and_the_config(tmp_path):
    from heed.tracking.record import RunRecord

    record = RunRecord.create(tmp_path, task="qa", name="x", seed=1, command=["heed"])
    record.update(data={"train": {"fingerprint": "aa"}, "test": {"fingerprint": "cc"}})
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/test.jsonl").write_text("{}\n")
    logger = loggers.mlflow_logger(run_dir=tmp_path, artifacts=["predictions", "config"], **PARTS)
    log_a_run(logger)
    [line] = loggers.finish_loggers([logger])
    assert line.startswith("mlflow: mlflow ui --backend-store-uri sqlite:///")
    client = logger.experiment
    run = client.get_run(logger.version)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.d_model"] == "7"
    assert run.data.metrics["train/loss"] == 1 / 3
    assert {(i.dataset.name, i.tags[0].value) for i in run.inputs.dataset_inputs} == {
        ("qa-train", "train"),
        ("qa-test", "test"),
    }
    kept = {file.path for file in client.list_artifacts(logger.version)}
    assert kept == {
        "config.yaml",
        "predictions",
        "lineage.json",
        "val",
    }
    again = loggers.mlflow_logger(run_dir=tmp_path, **PARTS)  # as a resumed run does
    again.log_hyperparams({"model": {"d_model": 11}, "seed": 2})
    assert loggers.finish_loggers([again])
    params = client.get_run(logger.version).data.params
    assert (params["model.d_model"], params["seed"]) == ("7", "2")


@needs_mlflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_has_written_all_when_a_checkpoint_is_saved(tmp_path):
    from mlflow.tracking import MlflowClient

    logger = loggers.mlflow_logger(run_dir=tmp_path, **PARTS)
    for step in range(1, 51):
        logger.log_metrics({"train/loss": 1 / step}, step=step)
    assert logger.place(50) == {"step": 50}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")  # another reader, before any end
    points = client.get_metric_history(logger.version, "train/loss")
    assert [(point.step, point.value) for point in points] == [(s, 1 / s) for s in range(1, 51)]
    logger.finish()
