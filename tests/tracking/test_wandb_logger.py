"""wandb: offline for real, refused for real, never in the way."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time

import pytest

from heed.tracking.loggers import finish_loggers, wandb_logger
from heed.tracking.wandb_logger import choose_mode, import_wandb

wandb = import_wandb()
BLOCK = 32768


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    wandb.teardown()  # it keeps what it read from the environment


@pytest.fixture
def server():
    """A socket that takes connections; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def refusing_address():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def records(path):
    """The records of a wandb file: LevelDB's log format after a header of seven bytes."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb.proto.wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def logged(run_dir):
    wandb.teardown()  # wandb's helper process writes on for a moment; this waits for it
    files = sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    found = []
    for file in files:
        rows, config = [], {}
        for record in records(file):
            for update in record.config.update:
                config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
            if record.HasField("history"):
                items = record.history.item
                rows.append(
                    {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                )
        found.append((config, rows))
    return found


def test_two_offline_runs_of_one_process_are_two_and_hold_what_was_logged(tmp_path):
    lines = []
    for run in ("one", "two"):
        run_dir = tmp_path / run
        run_dir.mkdir()
        logger = wandb_logger(run_dir=run_dir, run_name=run, task="qa", project="heed")
        logger.log_hyperparams({"model": {"d_model": 7}})
        logger.log_metrics({"val/f1": 12.5, "name": len(run)}, step=3)
        logger.log_table("val/samples", columns=["prediction"], data=[["Haus"]], step=3)
        lines += finish_loggers([logger])
        assert wandb.run is None
        assert not logger.failed
    assert all("upload it with: wandb sync " in line for line in lines)
    assert len(set(lines)) == 2
    for run in ("one", "two"):
        [(config, rows)] = logged(tmp_path / run)
        assert config["model"] == {"d_model": 7}
        assert rows[0]["val/f1"] == 12.5
        assert rows[0]["trainer/global_step"] == 3
        table = tmp_path.glob(f"{run}/wandb/offline-run-*/files/{rows[1]['val/samples/path']}")
        assert json.loads(next(table).read_text())["data"] == [["Haus"]]
    ids = {(tmp_path / run / "wandb" / "run_id").read_text() for run in ("one", "two")}
    assert len(ids) == 2


def test_without_an_account_it_is_offline_and_asks_nobody(server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert choose_mode() == "offline"
    assert choose_mode("online") == "offline"


def test_with_an_account_and_a_server_it_is_online(server, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert choose_mode() == "online"
    monkeypatch.delenv("WANDB_API_KEY")
    host = server.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host} login user password {'k' * 40}\n")
    assert choose_mode() == "online"


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [
        ("WANDB_MODE", "offline", "offline"),
        ("WANDB_MODE", "dryrun", "offline"),
        ("WANDB_MODE", "disabled", "disabled"),
        ("WANDB_DISABLED", "true", "disabled"),
    ],
)
def test_the_environment_comes_first(monkeypatch, server, name, value, mode):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv(name, value)
    assert choose_mode("online") == mode


@pytest.mark.parametrize(
    "url", [refusing_address(), "http://no-such-host.invalid"], ids=["refused", "unknown"]
)
def test_a_server_that_does_not_answer_costs_little(monkeypatch, url):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", url)
    choose_mode("offline")
    start = time.monotonic()
    assert choose_mode() == "offline"
    assert time.monotonic() - start < 2.0


def test_a_server_that_answers_nonsense_leaves_the_run_offline(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        threading.Thread(target=answer_forbidden, args=(listening,), daemon=True).start()
        logger = wandb_logger(run_dir=tmp_path, run_name="x", task="qa")
        start = time.monotonic()
        logger.log_metrics({"loss": 1.0}, step=0)
        assert time.monotonic() - start < 20.0
        [line] = finish_loggers([logger])
    assert "kept offline" in line
    [(_, rows)] = logged(tmp_path)
    assert rows[0]["loss"] == 1.0


def answer_forbidden(listening):
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1.0)
            try:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                continue


def test_a_failure_to_start_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / "wandb").write_text("a file in the way")
    logger = wandb_logger(run_dir=tmp_path, run_name="x", task="qa", mode="offline")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.experiment.anything_at_all(1)
    assert finish_loggers([logger]) == []
    assert len(caplog.records) == 1
    assert "wandb failed (starting a run" in caplog.text
