"""An offline wandb file holds all that a server would have been told."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from heed.tracking.artifacts import artifact_files, lineage
from heed.tracking.csv_logger import read_metrics
from heed.tracking.loggers import csv_logger, finish_loggers, wandb_logger
from heed.tracking.record import RunRecord
from heed.tracking.wandb_history import records
from heed.tracking.wandb_logger import import_wandb

wandb = import_wandb()

CONFIG = {"seed": 7, "model": {"d_model": 16, "tied": True}, "data": {"labels": None}}
ROWS = [
    (1, {"train/loss": 2.5, "train/learning_rate": 1e-3}),
    (2, {"train/loss": 0.1 + 0.2, "train/learning_rate": 5e-4}),
    (2, {"val/loss": 1.0 / 3.0, "val/accuracy": 54.54545593261719}),
    (2, {"test/loss": float("nan")}),
]
FINGERPRINTS = {"train": "aa", "validation": "bb", "test": "cc"}
KINDS = ("config", "history", "summary", "artifact", "run", "exit")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that was logged offline, with all of its artifacts."""
    run_dir = tmp_path_factory.mktemp("run")
    record = RunRecord.create(run_dir, task="qa", name="x", seed=7, command=["heed"])
    (run_dir / "checkpoints").mkdir()
    best = run_dir / "checkpoints/step=000002.ckpt"
    best.write_bytes(b"weights" * 1000)
    (run_dir / "checkpoints/last.ckpt").write_bytes(b"more")
    record.update(
        data={split: {"fingerprint": one, "rows": 3} for split, one in FINGERPRINTS.items()},
        tokenizer={"fingerprint": "tt"},
        lineage={"init_from": {"run": "old", "checkpoint": "a.ckpt", "sha256": "5" * 64}},
        best_checkpoint=best,
    )
    (run_dir / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for folder, name in (("predictions", "test.jsonl"), ("samples", "a.md"), ("tokenizer", "t")):
        (run_dir / folder).mkdir()
        (run_dir / folder / name).write_text(f"content of {name}\n")
    loggers = [
        csv_logger(run_dir=run_dir, run_name="x", task="qa"),
        wandb_logger(
            run_dir=run_dir,
            run_name="x",
            task="qa",
            mode="offline",
            artifacts=["predictions", "config", "samples", "tokenizer", "checkpoint"],
        ),
    ]
    for logger in loggers:
        logger.log_hyperparams(CONFIG)
        for step, metrics in ROWS:
            logger.log_metrics(metrics, step=step)
        logger.save()
    [line] = finish_loggers(loggers)
    assert "kept offline" in line
    wandb.teardown()  # wandb's helper process writes on for a moment; this waits for it
    return run_dir


@pytest.fixture(scope="module")
def found(run):
    """The records of the offline file by kind, in wandb's own messages."""
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    kept: dict[str, list] = {kind: [] for kind in KINDS}
    for _, record in records(file):
        for kind in KINDS:
            if record.HasField(kind):
                kept[kind].append(getattr(record, kind))
    return kept


def items(updates):
    return {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in updates}


def test_every_number_of_the_csv_file(run, found):
    rows = [items(one.item) for one in found["history"]]
    logged = read_metrics(run / "metrics.csv")
    assert len(rows) == len(logged) == len(ROWS)
    for number, (row, expected) in enumerate(zip(rows, logged, strict=True)):
        assert row["_step"] == number
        assert row["trainer/global_step"] == int(expected["step"])
        numbers = {k: str(float(v)) for k, v in row.items() if "/" in k and "global_step" not in k}
        assert numbers == {k: v for k, v in expected.items() if k != "step" and v}


def test_the_config_and_what_the_run_comes_from(run, found):
    config = {}
    for one in found["config"]:
        config |= items(one.update)
    for one in found["run"]:
        config |= items(one.config.update)
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert config["lineage"] == lineage(RunRecord.open(run))
    assert config["lineage"]["data"] == FINGERPRINTS


def test_the_run_and_its_end(run, found):
    assert {one.run_id for one in found["run"]} == {(run / "wandb/run_id").read_text().strip()}
    assert list(found["run"][0].tags) == ["qa"]
    assert [one.exit_code for one in found["exit"]] == [0]


def test_artifacts_with_the_digests_of_their_files(run, found):
    outputs = {one.name: one for one in found["artifact"] if not one.use_after_commit}
    run_id = (run / "wandb/run_id").read_text().strip()
    kinds = ["predictions", "config", "samples", "tokenizer", "checkpoint"]
    assert set(outputs) == {f"{kind}-{run_id}" for kind in kinds}
    assert outputs[f"checkpoint-{run_id}"].type == "model"
    expected = artifact_files(RunRecord.open(run), kinds)
    assert [str(file) for file in expected["checkpoint"]] == ["checkpoints/step=000002.ckpt"]
    for kind in kinds:
        artifact = outputs[f"{kind}-{run_id}"]
        entries = {entry.path: entry for entry in artifact.manifest.contents}
        assert set(entries) == {file.as_posix() for file in expected[kind]}
        for path, entry in entries.items():
            content = (run / path).read_bytes()
            assert entry.digest == base64.b64encode(hashlib.md5(content).digest()).decode()
            assert entry.size == len(content)
            kept = Path(entry.local_path)
            assert kept.read_bytes() == content
            assert kept.is_relative_to(run / "wandb")
        assert json.loads(artifact.metadata)["tokenizer"] == "tt"


def test_inputs_are_the_data_and_the_weights_it_began_with(found):
    inputs = {one.name: one for one in found["artifact"] if one.use_after_commit}
    assert {name: one.type for name, one in inputs.items()} == {
        "qa-data": "dataset",
        "weights-5555555555555555": "model",
    }
    assert json.loads(inputs["qa-data"].metadata) == {"fingerprints": FINGERPRINTS}


def test_the_summary(found):
    last: dict[str, float] = {}
    for one in found["summary"]:
        last |= items(one.update)
    for one in found["history"]:  # wandb's server makes the summary of these
        last |= items(one.item)
    assert last["train/loss"] == ROWS[1][1]["train/loss"]
    assert last["val/accuracy"] == ROWS[2][1]["val/accuracy"]
