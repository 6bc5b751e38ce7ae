"""Which file of a folder is which split."""

import pytest

from heed.data.files import find_split
from heed.errors import UserError


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("x\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "train.csv"),
        ("train", "training.jsonl.gz"),
        ("validation", "validation.tsv"),
        ("validation", "valid.json"),
        ("validation", "val.parquet"),
        ("validation", "dev.tsv.gz"),
        ("test", "test.txt"),
        ("test", "data/test-00000-of-00001.parquet"),
    ],
)
def test_usual_names(folder, split, name):
    path = folder(name, "other.csv", "README.md", "train_sentences.csv", ".test.csv")
    assert find_split(path, split, []).paths() == [path / name]


def test_given_names_come_first_and_patterns_take_all_that_fit(folder):
    path = folder("train.csv", "b-1.jsonl", "b-0.jsonl")
    assert find_split(path, "train", ["a.jsonl", "b-*.jsonl"]).paths() == [
        path / "b-0.jsonl",
        path / "b-1.jsonl",
    ]
    assert find_split(path, "train", ["a.jsonl"]).paths() == [path / "train.csv"]


def test_shards_are_read_in_order(folder):
    names = [f"train-{i:05}-of-00003.parquet" for i in range(3)]
    path = folder(*reversed(names))
    assert [one.name for one in find_split(path, "train", []).paths()] == names


@pytest.mark.parametrize(
    "names",
    [("train.en", "train.de"), ("train.en.gz", "train.de.gz"), ("train.en.txt", "train.de.txt")],
)
def test_parallel_text(folder, names):
    path = folder(*names, "dev.en", "dev.de")
    found = find_split(path, "train", [])
    assert found.columns == {"en": path / names[0], "de": path / names[1]}
    if not names[0].endswith(".gz"):
        assert [row.values for row in found.rows()] == [{"en": "x", "de": "x"}]


def test_nothing(folder):
    assert find_split(folder("a.csv"), "train", []) is None


def test_two_that_could_be_meant(folder):
    path = folder("train.csv", "train.jsonl")
    words = r"must have one train file, but has train.csv, train.jsonl; .*data.source.files.train="
    with pytest.raises(UserError, match=words):
        find_split(path, "train", [])
