"""Corpus: conversion, faults, labels, and a cache that is neither stale nor raced for."""

import errno
import json
import os
import subprocess
import sys

import pytest

from heed.data.corpus import Corpus
from heed.data.records import record_kind
from heed.data.sources import FileSource
from heed.errors import UserError, UserErrors


@pytest.fixture
def make(tmp_path):
    """Make a corpus of rows: split -> list of rows, or the lines themselves."""

    def make(kind="labelled_text", *, labels=None, held_out=None, **data):
        settings = {k: data.pop(k) for k in ("columns", "split_columns", "invalid") if k in data}
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for split, rows in data.items():
            lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
            (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        return Corpus(
            source=FileSource(path=str(folder), held_out=held_out),
            kind=record_kind(kind, labels=labels),
            cache_dir=str(tmp_path / "cache"),
            **settings,
        )

    return make


GOOD = {"text": "fine", "label": "pos"}
BAD = {"text": "dull", "label": "neg"}


def test_records_are_in_order_and_opened_once(make):
    corpus = make(train=[GOOD, BAD, GOOD])
    records = corpus.records("train")
    assert list(records) == [GOOD, BAD, GOOD]
    assert corpus.records("train") is records


def test_columns_by_split(make):
    corpus = make(
        "pairs",
        columns={"source": "dialogue", "target": "summary"},
        split_columns={"test": {"target": "summary1", "references": ["summary1", "summary2"]}},
        train=[{"dialogue": "a", "summary": "b"}],
        test=[{"dialogue": "c", "summary1": "d", "summary2": "e"}],
    )
    assert corpus.records("train")[0] == {"source": "a", "target": "b", "references": ["b"]}
    assert corpus.records("test")[0] == {"source": "c", "target": "d", "references": ["d", "e"]}


def test_faults_are_counted_and_the_first_are_shown(make):
    rows = [GOOD, {"text": "", "label": "pos"}, {"label": "pos"}, BAD]
    rows += [{"text": "t", "label": "so-so"}] * 7
    corpus = make(labels=["neg", "pos"], train=rows)
    assert len(corpus.records("train")) == 2
    faults = corpus.faults("train")
    assert {reason: fault.count for reason, fault in faults.items()} == {
        "text is empty": 1,
        "text is missing": 1,
        "label is not in the label set": 7,
    }
    assert faults["text is empty"].first == ["train.jsonl row 2"]
    shown = faults["label is not in the label set"].first
    assert shown == [f"train.jsonl row {i} ('so-so')" for i in range(5, 10)]
    assert make(labels=["neg", "pos"]).faults("train") == faults  # from the cache


def test_invalid_rows_can_be_refused(make):
    make(train=[GOOD, {"text": 3, "label": "pos"}, {"text": "a", "label": None}])
    with pytest.raises(UserErrors) as caught:
        make(invalid="error").records("train")
    first, second = caught.value.errors
    assert str(first) == (
        "every row of the train data must be valid, but in 1 text is not text: train.jsonl row 2 "
        "(int); mend the data, or leave such rows out with data.invalid=drop"
    )
    assert "in 1 label is missing: train.jsonl row 3" in str(second)
    assert len(make(invalid="drop").records("train")) == 1
    with pytest.raises(UserErrors):
        make(invalid="error").records("train")


def test_an_answer_that_is_not_in_its_passage_is_named(make):
    good = {"question": "q", "context": "a b", "answers": ["b"], "starts": [2]}
    corpus = make("passages", train=[good, {**good, "answers": ["c"]}])
    fault = corpus.faults("train")["answer does not stand at its start in the context"]
    assert fault == (1, ["train.jsonl row 2 (c)"])


def test_rows_that_do_not_fit_the_header_are_faults(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tx\nb\nc\ty\n")
    source = FileSource(path=str(tmp_path))
    corpus = Corpus(source=source, kind=record_kind("labelled_text"), cache_dir=str(tmp_path))
    assert corpus.records("train")["text"][:] == ["a", "c"]
    assert list(corpus.faults("train")) == ["the row does not have 2 fields, as the header has"]


def test_nothing_valid_is_an_error(make):
    corpus = make(train=[{"text": "", "label": "a"}, {"text": " ", "label": "a"}, {"label": "b"}])
    words = r"train data must have a valid row, but all rows of .*train.jsonl were left out: "
    words += (
        r"in 2 text is empty, first train.jsonl row 1; in 1 text is missing, first train.*row 3"
    )
    with pytest.raises(UserError, match=words):
        corpus.records("train")


def test_an_unknown_column_is_an_error(make):
    corpus = make(train=[GOOD], columns={"text": "txt"})
    words = r"data.columns.text must name a column of train.jsonl, but is 'txt' \(columns found: "
    with pytest.raises(UserError, match=words + r"text, label\); did you mean 'text'\?"):
        corpus.records("train")


def test_settings_are_checked(make):
    with pytest.raises(
        UserError, match=r"data.invalid must be drop or error, but is 'dropp'; did y"
    ):
        make(train=[GOOD], invalid="dropp")
    with pytest.raises(
        UserError, match=r"split_columns must name splits, but names 'tests'; did you"
    ):
        make(train=[GOOD], split_columns={"tests": {}})


def test_labels_come_from_the_config_or_the_training_data(make):
    corpus = make(train=[GOOD, BAD, GOOD], test=[GOOD, {"text": "t", "label": "so-so"}])
    assert corpus.labels() == ["neg", "pos"]
    assert len(corpus.records("test")) == 1
    assert list(corpus.faults("test")) == ["label is not in the label set"]
    assert make(labels=["pos", "neg"]).labels() == ["pos", "neg"]


def test_texts_of_each_side(make):
    corpus = make("pairs", train=[{"source": "a", "target": "b"}, {"source": "c", "target": "d"}])
    assert list(corpus.texts()) == ["a", "b", "c", "d"]
    assert list(corpus.texts("train", "source")) == ["a", "c"]
    assert list(corpus.texts("train", "target")) == ["b", "d"]


def test_the_cache_follows_content_columns_and_labels(make, tmp_path):
    def folders():
        return len(list((tmp_path / "cache" / "records").glob("*/records.arrow")))

    row = {"text": "t", "title": "u", "label": "0"}
    corpora = [
        make(train=[row]),
        make(columns={"text": "title"}),
        make(labels=["a", "b"]),
        make(train=[row, row]),
    ]
    for n, corpus in enumerate(corpora[:3], start=1):
        if n == 1:
            (tmp_path / "data" / "train.jsonl").write_text(json.dumps(row) + "\n")
        corpus.records("train")
        assert folders() == n
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps(row) + "\n\n")
    assert len(make().records("train")) == 1
    assert folders() == 4
    assert make().records("train")[0]["label"] == "0"
    assert folders() == 4


def test_a_change_of_training_labels_changes_the_other_splits(make):
    first = make(train=[GOOD, BAD], test=[GOOD]).fingerprint("test")
    assert make(train=[GOOD, BAD, BAD]).fingerprint("test") != first
    assert make(labels=["pos", "neg"]).fingerprint("test") != first


@pytest.mark.parametrize("name", ["records.arrow", "faults.json"])
def test_a_damaged_cache_is_made_again(make, tmp_path, name):
    make(train=[GOOD] * 3).records("train")
    (file,) = (tmp_path / "cache" / "records").glob(f"*/{name}")
    file.unlink()
    file.write_bytes(b"{")
    assert list(make().records("train")) == [GOOD] * 3


def test_a_failed_conversion_leaves_nothing_behind(make, tmp_path):
    corpus = make(train=[GOOD] * 29 + ['{"text": '])
    with pytest.raises(UserError, match="row 30 is not JSON"):
        corpus.records("train")
    left = [path for path in (tmp_path / "cache" / "records").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_two_processes_convert_once(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(GOOD) + "\n")
    code = """
import sys, time
from heed.data.corpus import Corpus
from heed.data.records import record_kind
from heed.data.sources import FileSource
class Slow(FileSource):
    def rows(self, split):
        print("converting", flush=True)
        time.sleep(0.5)
        yield from super().rows(split)
corpus = Corpus(source=Slow(path=sys.argv[1]), kind=record_kind("labelled_text"),
                cache_dir=sys.argv[1])
assert len(corpus.records("train")) == 1
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(outputs).count("converting") == 1


def test_a_cache_that_cannot_be_written(make, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    words = (
        r"cache of records must be writable, but .*; free some room, or .*paths.cache_dir=FOLDER"
    )
    with pytest.raises(UserError, match=words):
        make(train=[GOOD]).records("train")


def test_no_room_on_the_disk(make, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    corpus = make(train=[GOOD])
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="but .* is not: No space left on device; free some room"):
        corpus.records("train")


def test_memory_stays_flat(tmp_path):
    """Forty megabytes of rows become records without being held."""
    with (tmp_path / "train.jsonl").open("w") as stream:
        for i in range(20_011):
            stream.write(json.dumps({"text": f"{i} " + "word " * 400, "label": "a"}) + "\n")
    code = """
import sys
from heed.data.corpus import Corpus
from heed.data.records import record_kind
from heed.data.sources import FileSource
from heed.memory import peak_bytes
import datasets, pyarrow
before = peak_bytes()
corpus = Corpus(source=FileSource(path=sys.argv[1], held_out={"validation": 0.1}),
                kind=record_kind("labelled_text"), cache_dir=sys.argv[1])
from pathlib import Path
corpus._build(Path(sys.argv[1]), "train")
print((peak_bytes() - before) / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 25
