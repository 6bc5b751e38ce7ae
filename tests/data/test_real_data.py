"""The shipped configs on real copies of their data: every row becomes a record."""

from pathlib import Path

import pytest
import yaml

from heed.commands.build import build
from heed.data.corpus import Corpus
from heed.data.records import RECORD_KINDS, record_kind

CONFIGS = Path(__file__).parents[2] / "configs" / "data"
NAMES = sorted(path.stem for path in CONFIGS.glob("[!_]*.yaml"))
TASK_KINDS = {
    "translation": "pairs",
    "summarization": "pairs",
    "sentiment": "labelled_text",
    "qa": "passages",
    "generative_qa": "passages",
    "masked_lm": "texts",
    "causal_lm": "texts",
}


def load(name: str) -> dict:
    shared = yaml.safe_load((CONFIGS / "_defaults.yaml").read_text())
    return {**shared, **yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())}


def corpus_of(name: str, path: Path, cache: Path) -> Corpus:
    config = load(name)
    source = {**config["source"], "path": str(path)}
    return Corpus(
        source=build(source, key="data.source"),
        kind=record_kind(config["kind"], labels=config["labels"]),
        columns=config["columns"],
        split_columns=config["split_columns"],
        invalid="error",
        cache_dir=str(cache),
    )


@pytest.mark.parametrize("name", NAMES)
def test_configs_say_where_data_is_from_and_fit_their_kind(name):
    config = load(name)
    assert (CONFIGS / f"{name}.yaml").read_text().startswith("# ")
    assert {"licence", "homepage", "references", "tasks", "kind", "source"} <= config.keys()
    assert config["name"] == name
    assert set(config["tasks"]) <= TASK_KINDS.keys()
    if config["kind"] == "${task.kind}":
        return
    assert {TASK_KINDS[task] for task in config["tasks"]} == {config["kind"]}
    assert all(config[key] for key in ("licence", "homepage", "references"))
    kind = RECORD_KINDS[config["kind"]]
    assert set(config["columns"]) <= kind.types.keys()
    assert set(kind.required) <= config["columns"].keys()
    assert build({**config["source"], "path": None}, key="data.source").splits["train"]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("multi30k", (29_000, 1_014, 1_000)),
        ("dialogsum", (None, 500, 500)),
        ("sst2", (None, 872, 1_821)),
        ("squad", (None, 10_570, 10_570)),
    ],
)
def test_every_row_is_a_record(name, sizes, real_data, tmp_path):
    corpus = corpus_of(name, real_data / name, tmp_path)
    for split, size in zip(("train", "validation", "test"), sizes, strict=True):
        if size is not None:
            assert len(corpus.records(split)) == size
            assert corpus.faults(split) == {}


def test_the_flickr_test_set_of_2016(real_data, tmp_path):
    corpus = corpus_of("multi30k", real_data / "multi30k", tmp_path)
    assert corpus.describe("test").endswith("test_2016_flickr.jsonl.gz")
    first = corpus.records("test")[0]
    assert first["source"].startswith("A man in an orange hat star")
    assert first["target"].startswith("Ein Mann mit einem orangefarbenen Hut")


def test_test_dialogues_have_three_references(real_data, tmp_path):
    corpus = corpus_of("dialogsum", real_data / "dialogsum", tmp_path)
    test = corpus.records("test")
    assert all(len(references) == 3 for references in test["references"])
    assert test[0]["references"][0] == test[0]["target"]
    assert "\n#Person2#:" in test[0]["source"]


def test_sentiment_has_names(real_data, tmp_path):
    corpus = corpus_of("sst2", real_data / "sst2", tmp_path)
    assert corpus.labels() == ["negative", "positive"]
    first = corpus.records("validation")[0]
    assert first == {"text": "one long string of cliches .", "label": "negative"}


def test_questions_are_tested_on_the_dev_set(real_data, tmp_path):
    corpus = corpus_of("squad", real_data / "squad", tmp_path)
    assert "no test data of its own" in corpus.describe("test")
    assert corpus.fingerprint("test") == corpus.fingerprint("validation")
    first = corpus.records("test")[0]
    assert first["answers"] == ["Denver Broncos"] * 3
    for answer, start in zip(first["answers"], first["starts"], strict=True):
        assert first["context"][start : start + len(answer)] == answer


@pytest.mark.learning
@pytest.mark.parametrize(
    ("name", "size"), [("dialogsum", 12_460), ("sst2", 67_349), ("squad", 87_599)]
)
def test_every_training_row_is_a_record(name, size, real_data, tmp_path):
    corpus = corpus_of(name, real_data / name, tmp_path)
    assert len(corpus.records("train")) == size
    assert corpus.faults("train") == {}


def test_local_reads_the_same_files(real_data, tmp_path):
    config = load("local")
    source = {**config["source"], "path": str(real_data / "sst2")}
    corpus = Corpus(
        source=build(source, key="data.source"),
        kind=record_kind("labelled_text", labels=["0", "1"]),
        columns=config["columns"],
        split_columns=config["split_columns"],
        cache_dir=str(tmp_path),
    )
    assert len(corpus.records("validation")) == 872
    assert set(corpus.records("validation").unique("label")) == {"0", "1"}
