"""The run record."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pytest
import torch

from heed.errors import UserError
from heed.tracking.record import RunRecord


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "outputs" / "qa" / "x" / "2025-01-01_00-00-00"
    folder.mkdir(parents=True)
    return folder


def create(run_dir, **changes):
    values = {"task": "qa", "name": "x", "seed": 7, "overrides": ["task=qa"], **changes}
    return RunRecord.create(run_dir, **values)


def on_disk(run_dir):
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))


def test_a_new_record_says_what_is_being_run(run_dir, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/home/somebody/.venv/bin/heed", "train", "task=qa"])
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-of-mine")
    create(run_dir)
    fields = on_disk(run_dir)
    assert fields["schema"] == 1
    assert (fields["task"], fields["name"], fields["seed"]) == ("qa", "x", 7)
    assert fields["command"] == ["heed", "train", "task=qa"]
    assert fields["overrides"] == ["task=qa"]
    assert fields["status"] == "running"
    assert fields["ended"] is None
    assert fields["versions"]["lightning"]
    assert fields["hardware"]["cpu"]
    text = json.dumps(fields)
    assert "a-secret-of-mine" not in text
    assert "somebody" not in text


def test_a_record_is_never_overwritten(run_dir):
    create(run_dir)
    with pytest.raises(UserError, match="holds a run, and a run is never overwritten"):
        create(run_dir)


def test_what_is_set_is_on_disk_at_once_and_reads_back(run_dir):
    record = create(run_dir)
    record.update(parameters=torch.tensor(1009), metrics={"val/bleu": torch.tensor(31.5)})
    record.update(metrics={"test/bleu": np.float32(0.5), "test/loss": float("nan")})
    record.update(data={"train": {"rows": 13}}, tokenizer={"fingerprint": "ab"})
    record.update(signatures={"bleu": "nrefs:1|tok:13a"})
    fields = RunRecord.open(run_dir).fields
    assert fields["parameters"] == 1009
    assert fields["metrics"] == {"val/bleu": 31.5, "test/bleu": 0.5, "test/loss": "nan"}
    assert fields["data"]["train"]["rows"] == 13
    assert fields["signatures"] == {"bleu": "nrefs:1|tok:13a"}


def test_an_unknown_field_is_a_defect(run_dir):
    with pytest.raises(AssertionError, match="metricks"):
        create(run_dir).update(metricks={})


def test_the_best_checkpoint_is_relative_and_moves_with_the_folder(run_dir, tmp_path):
    checkpoint = run_dir / "checkpoints" / "step=000007.ckpt"
    record = create(run_dir)
    assert record.best_checkpoint is None
    record.update(best_checkpoint=checkpoint)
    assert on_disk(run_dir)["best_checkpoint"] == "checkpoints/step=000007.ckpt"
    run_dir.rename(tmp_path / "moved")
    moved = RunRecord.open(tmp_path / "moved")
    assert moved.best_checkpoint == tmp_path / "moved" / "checkpoints" / "step=000007.ckpt"


def test_phases_are_timed_and_add_up(run_dir):
    record = create(run_dir)
    for _ in range(2):
        with record.phase("training"):
            time.sleep(0.02)
    with pytest.raises(ZeroDivisionError), record.phase("test"):
        raise ZeroDivisionError
    phases = on_disk(run_dir)["phases"]
    assert 0.04 <= phases["training"] < 1.0
    assert "test" in phases


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "done", None),
        (RuntimeError("out of luck"), "failed", "RuntimeError: out of luck"),
        (UserError("lr must be positive", "try 1"), "failed", "lr must be positive; try 1"),
        (KeyboardInterrupt(), "interrupted", "interrupted from the keyboard"),
        (SystemExit(130), "interrupted", "interrupted from the keyboard"),
        (SystemExit(143), "stopped", "asked to stop (SIGTERM)"),
        (SystemExit(3), "failed", "exit code 3"),
    ],
)
def test_how_a_run_ended_is_recorded(run_dir, error, status, reason):
    record = create(run_dir)
    if error is None:
        with record.running():
            pass
    else:
        with pytest.raises(type(error)), record.running():
            raise error
    fields = on_disk(run_dir)
    assert (fields["status"], fields["reason"]) == (status, reason)
    assert fields["ended"] >= fields["started"]
    assert fields["duration_seconds"] >= 0


def test_a_resumed_run_keeps_its_earlier_sessions(run_dir):
    record = create(run_dir, command=["heed", "train"])
    record.update(metrics={"val/f1": 50.0})
    record.finish("stopped", "asked to stop (SIGTERM)")
    again = RunRecord.open(run_dir)
    again.begin_session(command=["heed", "train", "resume=x"], overrides=["resume=x"])
    again.finish("done")
    fields = on_disk(run_dir)
    assert fields["status"] == "done"
    assert fields["command"][-1] == "resume=x"
    assert [session["status"] for session in fields["sessions"]] == ["stopped"]
    assert fields["sessions"][0]["command"] == ["heed", "train"]
    assert fields["metrics"] == {"val/f1": 50.0}


def test_a_folder_without_a_record_names_the_runs_near_it(run_dir, monkeypatch, tmp_path):
    create(run_dir)
    monkeypatch.chdir(tmp_path)
    shown = "outputs/qa/x/2025-01-01_00-00-00"
    for path, words in [
        (run_dir.parent, "but outputs/qa/x has none"),
        (run_dir.parent / "2024", "but outputs/qa/x/2024 does not exist"),
        (run_dir / "run.json", f"but {shown}/run.json is a file"),
    ]:
        with pytest.raises(UserError) as caught:
            RunRecord.open(path)
        assert words in caught.value.problem
        assert caught.value.remedy == f"did you mean {shown}?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "must be JSON, but is broken"),
        ("[]", "must be a run record, but has no 'schema'"),
        (
            '{"schema": 99, "versions": {"heed-nlp": "9.0"}}',
            r"must have schema 1, but has 99.*9\.0",
        ),
    ],
)
def test_a_record_that_cannot_be_used_is_named(run_dir, text, words):
    (run_dir / "run.json").write_text(text)
    with pytest.raises(UserError, match=words):
        RunRecord.open(run_dir)


def test_text_that_no_file_takes_is_written_out(run_dir):
    record = create(run_dir, overrides=["name=\ud800é"])
    record.finish("failed", "a row has \udcff")
    assert on_disk(run_dir)["overrides"] == ["name=\\ud800é"]
    assert on_disk(run_dir)["reason"] == "a row has \\udcff"
    assert str(UserError("\ud800é", "\udcff")) == "\\ud800é; \\udcff"
