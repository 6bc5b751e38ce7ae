"""Sources: local files, the hub, the generators; their splits, fingerprints and errors."""

import json
import socket

import pytest

from heed.data.sources import BuiltinSource, FileSource, HubSource
from heed.errors import UserError


def write(path, n, start=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"text": f"t{i}"}) for i in range(start, start + n)]
    path.write_text("\n".join(rows) + "\n")


def texts(source, split):
    return [row.values["text"] for row in source.rows(split)]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.jsonl", 41)
    return tmp_path


def test_a_file_a_split(folder):
    write(folder / "dev.jsonl", 3, 100)
    write(folder / "test.jsonl", 2, 200)
    source = FileSource(path=str(folder), held_out={"validation": 0.5})
    assert len(texts(source, "train")) == 41
    assert texts(source, "validation") == ["t100", "t101", "t102"]
    assert texts(source, "test") == ["t200", "t201"]
    assert source.describe("test") == str(folder / "test.jsonl")


def test_validation_rows_are_held_out_and_tested_on(folder):
    source = FileSource(path=str(folder), held_out={"validation": 0.05, "test": None}, seed=3)
    train, validation = texts(source, "train"), texts(source, "validation")
    assert len(validation) == 2
    assert sorted(train + validation) == sorted(f"t{i}" for i in range(41))
    assert texts(source, "test") == validation
    held = f"5% of {folder / 'train.jsonl'}, held out with seed 3"
    assert source.describe("validation") == held
    assert source.describe("test") == f"{held} (there is no test data of its own)"


def test_held_out_rows_keep_their_numbers(folder):
    source = FileSource(path=str(folder), held_out={"validation": 7})
    assert all(row.values["text"] == f"t{row.number - 1}" for row in source.rows("validation"))


def test_one_file_is_training_data(folder):
    source = FileSource(path=str(folder / "train.jsonl"), held_out={"validation": 0.1, "test": 5})
    sizes = [len(texts(source, split)) for split in ("train", "validation", "test")]
    assert sizes == [32, 4, 5]


def test_fingerprints_follow_content_and_nothing_else(folder, tmp_path):
    def fingerprints(path=folder, **settings):
        source = FileSource(path=str(path), held_out={"validation": 0.1}, **settings)
        return [source.fingerprint(split) for split in ("train", "validation", "test")]

    first = fingerprints()
    assert first[0] != first[1] == first[2]
    assert fingerprints() == first
    write(tmp_path / "elsewhere" / "train.jsonl", 41)
    assert fingerprints(tmp_path / "elsewhere") == first
    assert not set(fingerprints(seed=5)[:2]) & set(first)
    write(folder / "train.jsonl", 43)
    assert not set(fingerprints()) & set(first)


def test_a_validation_file_changes_what_the_training_rows_are(folder):
    def fingerprint():
        return FileSource(path=str(folder), held_out={"validation": 0.1}).fingerprint("train")

    first = fingerprint()
    write(folder / "valid.jsonl", 3)
    assert fingerprint() != first


def test_named_files(folder):
    write(folder / "more.jsonl", 5)
    source = FileSource(path=str(folder), files={"test": "more.jsonl", "validation": "more*"})
    assert len(texts(source, "test")) == len(texts(source, "validation")) == 5
    source = FileSource(path=str(folder), files={"test": "mere.jsonl"})
    words = r"data.source.files.test must be in .*, but 'mere.jsonl' is not \(found: more.jsonl, "
    with pytest.raises(UserError, match=words + r"train.jsonl\); did you mean 'more.jsonl'\?"):
        texts(source, "test")


def test_path_errors(folder, tmp_path):
    words = r"data=local must be told where .* data.path is null; give data.path=FOLDER"
    with pytest.raises(UserError, match=words):
        FileSource(path=None)
    with pytest.raises(
        UserError, match=r"trian.jsonl does not exist; did you mean 'train.jsonl'\?"
    ):
        FileSource(path=str(folder / "trian.jsonl"))
    (tmp_path / "empty").mkdir()
    words = r"must be a folder with training data, but .*empty has nothing; a training file is "
    with pytest.raises(UserError, match=words + r"my-\*.csv, train \| training with one of .jsonl"):
        texts(FileSource(path=str(tmp_path / "empty"), files={"train": ["my-*.csv"]}), "train")


def test_no_validation_data(folder):
    words = r"must have validation data, but there is none; give data.source.files.validation=NAME"
    with pytest.raises(UserError, match=words):
        texts(FileSource(path=str(folder)), "validation")


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.txt", "train.tsv.gz"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"{name} must have rows, but is empty"):
        texts(FileSource(path=str(tmp_path)), "train")


def test_too_few_rows_to_hold_any_out(tmp_path):
    write(tmp_path / "train.jsonl", 1)
    source = FileSource(path=str(tmp_path), held_out={"validation": 0.05})
    with pytest.raises(UserError, match=r"must have at least 2 rows to take validation .* has 1"):
        texts(source, "train")


def test_held_out_settings(folder):
    with pytest.raises(
        UserError, match=r"held_out must name validation or test, but names 'trial'"
    ):
        FileSource(path=str(folder), held_out={"trial": 0.1})
    with pytest.raises(UserError, match=r"held_out.test must be a share .* above 0, but is 0"):
        FileSource(path=str(folder), held_out={"test": 0})
    with pytest.raises(UserError, match=r"files must name splits, but names 'tset'"):
        FileSource(path=str(folder), files={"tset": "a"})


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """A data set as the hub has them, and a cache for it away from home.

    A folder stands in for the hub, so names of folders, which are refused, are let through.
    """
    import datasets

    monkeypatch.setattr("heed.data.hub._check_name", lambda name: None)

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "set" / "data" / "train.jsonl", 41)
    write(tmp_path / "set" / "data" / "test.jsonl", 3, 100)
    return str(tmp_path / "set")


def test_hub(hub_folder, capfd):
    splits = {"train": "train", "validation": None, "test": "test"}
    source = HubSource(hub=hub_folder, splits=splits, held_out={"validation": 0.1})
    train, validation = texts(source, "train"), texts(source, "validation")
    assert texts(source, "test") == ["t100", "t101", "t102"]
    assert len(validation) == 4
    assert sorted(train + validation) == sorted(f"t{i}" for i in range(41))
    again = HubSource(hub=hub_folder, splits=splits, held_out={"validation": 0.1})
    for split in splits:
        assert again.fingerprint(split) == source.fingerprint(split)
    assert len({source.fingerprint(split) for split in splits}) == 3
    assert source.describe("train") == f"{hub_folder} (train)"
    assert capfd.readouterr().err == ""


def test_hub_names_no_such_split_or_configuration(hub_folder):
    source = HubSource(hub=hub_folder, splits={"train": "tran"})
    words = r"data.source.splits must name splits of .*there is no 'tran' .*did you mean 'train'\?"
    with pytest.raises(UserError, match=words):
        texts(source, "train")
    source = HubSource(hub=hub_folder, hub_config="de-en", splits={"train": "train"})
    with pytest.raises(UserError, match=r"hub_config must be a configuration of .*but is 'de-en'"):
        texts(source, "train")


def test_a_data_set_that_is_a_program_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("heed.data.hub._check_name", lambda name: None)  # as in `hub_folder`
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text("raise SystemExit('it was run')")
    source = HubSource(hub=str(tmp_path / "set"), splits={"train": "train"})
    with pytest.raises(
        UserError, match=r"must be plain files, but it is a program .*data.path=FOLD"
    ):
        texts(source, "train")


def test_no_network(monkeypatch, tmp_path):
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = HubSource(hub="heed/nothing", splits={"train": "train"})
    words = (
        r"heed/nothing must be on huggingface.co or in its local cache, but .* no network, or no "
    )
    with pytest.raises(UserError, match=words + r"such name .*give a local copy: data.path=FOLDER"):
        texts(source, "train")


def test_a_local_copy_needs_no_network(folder, monkeypatch):
    def refuse(*arguments, **settings):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    write(folder / "dev-1.jsonl", 3, 100)
    source = HubSource(
        hub="heed/nothing",
        splits={"train": "train", "validation": "validation", "test": None},
        path=str(folder),
        files={"train": None, "validation": ["valid-1.jsonl", "dev-1.jsonl"], "test": None},
    )
    assert len(texts(source, "train")) == 41
    assert texts(source, "test") == texts(source, "validation") == ["t100", "t101", "t102"]
    local = FileSource(path=str(folder), files={"validation": "dev-1.jsonl"})
    assert source.fingerprint("validation") == local.fingerprint("validation")


def test_builtin_rows_and_fingerprints():
    def make(**changes):
        sizes = {"train_size": 7, "validation_size": 3, "test_size": 2}
        return BuiltinSource(**{"corpus": "translation", "seed": 0, **sizes, **changes})

    source = make()
    rows = list(source.rows("train"))
    assert [row.number for row in rows] == list(range(1, 8))
    assert set(rows[0].values) >= {"source", "target"}
    assert len(list(source.rows("test"))) == 2
    first = source.fingerprint("train")
    assert make().fingerprint("train") == first
    assert make(test_size=5).fingerprint("train") == first
    for changed in (make(seed=1), make(train_size=11), make(corpus="sentiment")):
        assert changed.fingerprint("train") != first
    with pytest.raises(UserError, match=r"data.source.test_size must be at least 1, but is 0"):
        make(test_size=0)
