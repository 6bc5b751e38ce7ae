"""`heed diff`: what differs between two runs, and which predictions got better."""

from __future__ import annotations

import json
import re
import shutil

import pytest


@pytest.fixture(scope="module")
def pair(heed, run_folder, tiny, tmp_path_factory):
    """Two runs of one task that differ in seed, learning rate and steps."""
    root = tmp_path_factory.mktemp("other")
    words = [word for word in tiny if not word.startswith("trainer.max_steps")]
    changed = ["seed=1", "optimizer.lr=0.05", "trainer.max_steps=8", f"paths.output_dir={root}"]
    answer = heed("train", "task=sentiment", *words, *changed)
    assert answer.code == 0, answer.err
    (record,) = root.rglob("run.json")
    return run_folder("sentiment"), record.parent


@pytest.fixture
def copies(pair, tmp_path):
    for folder, name in zip(pair, "ab", strict=True):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def rows(folder):
    text = (folder / "predictions/test.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def with_predictions(folder, texts, *, references=True):
    """Put other predictions in the place of a run's."""
    kept = rows(folder)
    with (folder / "predictions/test.jsonl").open("w") as file:
        for row, text in zip(kept, texts, strict=False):
            row = {key: value for key, value in row.items() if key != "probabilities"}
            if not references:
                row.pop("references")
            print(json.dumps({**row, "prediction": text}), file=file)
    return kept


def objects(answer):
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def test_everything_that_differs_is_named(heed, pair, record):
    one, other = pair
    found = objects(heed("diff", str(one), str(other), "format=jsonl"))
    config = {o["name"]: (o["a"], o["b"]) for o in found if o["kind"] == "config"}
    assert config.pop("name") == ("shared", "default")
    assert config.pop("paths.output_dir")[0] == "outputs"
    assert config.pop("logger.mlflow.store", None) is None
    assert config == {
        "optimizer.lr": (0.0015, 0.05),
        "seed": (42, 1),
        "trainer.max_steps": (3, 8),
    }
    kinds = {o["kind"] for o in found}
    assert not kinds & {"data", "versions", "hardware", "tokenizer", "computing", "code"}
    metrics = {o["name"]: (o["a"], o["b"]) for o in found if o["kind"] == "metric"}
    first, second = record(one)["metrics"], record(other)["metrics"]
    assert metrics == {name: (first[name], second[name]) for name in first}
    text = heed("diff", str(one), str(other)).out
    lines = [line.split() for line in text.splitlines()]
    assert ["optimizer.lr", "0.0015", "/", "0.05"] in lines
    assert "the same: code, data, tokenizer" in text
    apart = second["test/loss"] - first["test/loss"]
    assert next(line[-1] for line in lines if line[:1] == ["test/loss"]) == f"{apart:+.6g}"


def test_a_run_and_itself(heed, pair):
    found = objects(heed("diff", str(pair[0]), str(pair[0]), "format=jsonl"))
    assert {o["kind"] for o in found} == {"metric", "curves", "predictions"}
    assert all(o["a"] == o["b"] for o in found if o["kind"] == "metric")
    assert next(o for o in found if o["kind"] == "predictions")["changed"] == 0


@pytest.mark.parametrize("references", [True, False], ids=["kept", "from the data"])
def test_which_predictions_got_better(heed, copies, references):
    one, other = copies
    right = [row["references"][0] for row in rows(one)]
    wrong = ["negative" if label == "positive" else "positive" for label in right]
    with_predictions(one, [wrong[0], right[1], *right[2:]], references=references)
    with_predictions(other, [right[0], wrong[1], wrong[2], *right[3:]], references=references)
    *_, said, first, second, third = objects(
        heed("diff", str(one), str(other), "format=jsonl", "n=null")
    )
    assert said["changed"] == 3
    assert (said["better"], said["worse"], said["score"]) == (1, 2, "accuracy")
    assert [line["index"] for line in (first, second, third)] == [0, 1, 2]
    assert (first["a"], first["b"]) == (wrong[0], right[0])
    assert (first["score_a"], first["score_b"], first["reference"]) == (0.0, 100.0, right[0])
    assert first["input"]
    text = heed("diff", str(one), str(other), "n=1").out
    assert "3 of 13 changed, 1 better, 2 worse (accuracy)" in text
    assert text.count("reference") == 1


def test_an_example_that_only_one_has(heed, copies):
    one, other = copies
    with_predictions(other, [row["prediction"] for row in rows(other)][:-2])
    *_, said = objects(heed("diff", str(one), str(other), "format=jsonl", "n=0"))
    assert (said["shared"], said["only_a"], said["only_b"]) == (11, 2, 0)


def test_a_terminal_is_not_commanded(heed, copies):
    one, other = copies
    with_predictions(other, ["\x1b[2Jgone\n"] * 13)
    text = heed("diff", str(one), str(other)).out
    assert "\x1b" not in text
    assert "\\x1b[2Jgone" in text


def test_a_file_of_predictions_that_is_broken(heed, copies):
    (copies[1] / "predictions/test.jsonl").write_text('{"index": 0, "predic')
    for words in (["diff", *copies], ["reproduce", f"run={copies[0]}", f"against={copies[1]}"]):
        said = heed(*map(str, words))
        assert said.code == 2
        assert "must have an index and a prediction a line, but is broken" in said.err
        assert "make it again: heed evaluate run=" in said.err


def test_references_are_enough_where_the_data_are_gone(heed, copies, tmp_path, monkeypatch):
    one, other = copies
    with_predictions(other, ["negative", "positive"] * 7)
    with_predictions(one, ["positive"] * 13)
    for run in copies:
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(re.sub("cache_dir: .*", "cache_dir: /nowhere", config))
    monkeypatch.setenv("HEED_CACHE", str(tmp_path / "empty"))
    *_, said, first = objects(heed("diff", str(one), str(other), "format=jsonl", "n=1"))
    assert said["score"] == "accuracy"
    assert said["changed"] == said["better"] + said["worse"] == 7
    assert first["input"] == ""
    assert not (tmp_path / "empty").exists()


def test_other_tasks_and_other_data_are_said(heed, pair, run_folder, copies):
    text = heed("diff", str(pair[0]), str(run_folder("qa"))).out
    assert "not compared: the tasks are different (sentiment / qa)" in text
    assert "test/f1" in text
    fields = json.loads((copies[1] / "run.json").read_text())
    fields["data"]["test"]["fingerprint"] = "0" * 64
    (copies[1] / "run.json").write_text(json.dumps(fields))
    text = heed("diff", str(copies[0]), str(copies[1])).out
    assert "predictions  not compared: the test data are different" in text
    assert "test fingerprint" in text


def test_markdown_into_a_file(heed, pair, tmp_path):
    words = ["diff", *map(str, pair), f"output={tmp_path / 'new' / 'page.md'}"]
    answer = heed(*words)
    assert answer.code == 0, answer.err
    page = (tmp_path / "new" / "page.md").read_text()
    assert "| optimizer.lr | 0.0015 | 0.05 |" in page
    again = heed(*words)
    assert again.code == 2
    assert "page.md exists; give another name, or overwrite=true" in again.err
    assert heed(*words, "overwrite=true").code == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "heed diff needs two run folders, but has 1"),
        (["{run}", "n=-1"], "n must be a whole number of at least 0, or null for all, but is -1"),
        (["{run}", "format=html"], "format must be one of terminal, markdown, jsonl"),
        (["{run}", "formt=jsonl"], "formt"),
        (["nowhere"], "a run folder holds a run.json, but nowhere does not exist"),
    ],
)
def test_mistakes(heed, pair, words, problem):
    run = str(pair[0])
    said = heed("diff", run, *(word.format(run=run) for word in words))
    assert said.code == 2
    assert problem in said.err
