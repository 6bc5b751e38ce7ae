"""The model card: what the hub reads of it, and that it says nothing the record does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from heed.exporting.export import code
from heed.exporting.model_card import model_card, shorten
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import reading_rows, texts_and_rows, with_template

Make = Callable[..., Subject]
WRITTEN = Written(("x = 1",), "logits", 2.5e-7, 1e-4, {"greedy": (6, 7)}, {"longest_row": 97})


@pytest.fixture
def card(make_subject: Make) -> str:
    return model_card(make_subject("sentiment"), "onnx", WRITTEN, ("x = 1",), 53_100_000)


def test_the_hub_can_read_its_header(card: str) -> None:
    data = ModelCard(card).data
    assert data.library_name == "onnx"
    assert data.pipeline_tag == "text-classification"
    assert data.license == "unknown"
    assert data.datasets is None, "the built-in corpus is not on the hub"
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 91.25)
    assert (result.dataset_name, result.dataset_split) == ("builtin", "test")


def test_a_data_set_of_the_hub_is_named(make_subject: Make) -> None:
    subject = make_subject("sentiment")
    config = {**subject.config, "data": {**subject.config["data"], "source": {"hub": "a/sst2"}}}
    object.__setattr__(subject, "config", config)
    assert ModelCard(model_card(subject, "hf", WRITTEN, (), 1)).data.datasets == ["a/sst2"]


def test_it_says_what_the_record_knows(card: str) -> None:
    for line in (
        "# made: sentiment on builtin",
        "- licence of the data: As Heed itself.",
        "- language: unknown to the record",
        "| accuracy | 91.25 | made\\|for:tests |",
        "| train | 61 | 4,336 | ffffffffffff |",
        "heed train data.path=.../sst2 seed=7",
        "- precision 32-true, 1 process(es), a CPU",
        "A row has at most 97 tokens.",
        "| labels | negative, positive |",
        "| size of this folder | 53.1 MB |",
        "examples (the run's test split): largest difference 2.5e-07 (accepted up to 1.0e-04)",
        "greedy: 6 of 7 texts the same.",
    ):
        assert line in card, line
    assert "90" not in card.split("## Scores")[1].split("##")[0], "validation is no test"


def test_a_run_without_a_test_has_no_results(make_subject: Make) -> None:
    subject = make_subject("sentiment")
    subject.record["metrics"].clear()
    card = model_card(subject, "safetensors", WRITTEN, (), 1)
    assert "The record has none on the test split." in card
    assert ModelCard(card).data.eval_results is None


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("data.path=/home/me/sst2", "data.path=.../sst2"),
        ("/usr/bin/heed", ".../heed"),
        ("data.path=data/sst2", "data.path=data/sst2"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
    ],
)
def test_places_are_cut_to_their_names(word: str, shown: str) -> None:
    assert shorten(word) == shown


@pytest.mark.parametrize(
    ("task", "key", "said"),
    [
        ("sentiment", "text_prefix", "Every text was read with `sst2: ` before it."),
        ("qa", "question_prefix", "Every question was read with `sst2: ` before it."),
        ("summarization", "source_prefix", "Every text was read with `sst2: ` before it."),
    ],
)
def test_a_prefix_is_told_and_tried(task: str, key: str, said: str, make_subject: Make) -> None:
    subject = make_subject(task, f"task.preparation.{key}='sst2: '")
    assert said in model_card(subject, "onnx", WRITTEN, (), 1)
    (line,) = code(("TEXTS",), subject, Path("x"))
    assert line.startswith("'sst2: ")
    texts, row = next(iter(texts_and_rows(subject)))
    backend = with_template(subject.tokenizers.source, *reading_rows(subject))
    assert backend.encode(*(*texts, None)[:2]).ids == row
    assert texts[0].startswith("sst2: ")
