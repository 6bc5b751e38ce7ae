"""What every built-in corpus promises: repeatable, prefix-stable, split by combination."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from heed.data.builtin.draw import SPLITS, owner_of_combination, owner_of_text
from heed.data.builtin.generate import CORPORA, example, generate
from heed.errors import UserError

FAMILIES = ("translation", "summarization", "sentiment", "qa")
COLUMNS = {
    "translation": {"source", "target", "references"},
    "summarization": {"source", "target", "references"},
    "sentiment": {"text", "label"},
    "qa": {"id", "question", "context", "answers", "starts"},
}
SIZES = {"train": 3989, "validation": 199, "test": 997}


@pytest.fixture(scope="module")
def examples():
    """Corpus -> split -> examples, drawn once for all tests here."""
    return {
        corpus: {
            split: [example(corpus, split, seed=0, index=i) for i in range(SIZES[split])]
            for split in SPLITS
        }
        for corpus in FAMILIES
    }


@pytest.mark.parametrize("corpus", sorted(CORPORA))
@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_same_rows_and_a_prefix_is_a_prefix(corpus, split):
    rows = list(generate(corpus, split, size=23, seed=7))
    assert len(rows) == 23
    assert rows == list(generate(corpus, split, size=23, seed=7))
    assert rows[:11] == list(generate(corpus, split, size=11, seed=7))
    assert rows != list(generate(corpus, split, size=23, seed=8))


def test_rows_do_not_depend_on_the_process():
    program = (
        "from heed.data.builtin.generate import generate\n"
        "for name in ('translation', 'sentiment', 'summarization', 'qa'):\n"
        "    print(list(generate(name, 'test', size=3, seed=1)))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "99", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout
    here = [
        str(list(generate(name, "test", size=3, seed=1)))
        for name in ("translation", "sentiment", "summarization", "qa")
    ]
    assert printed.splitlines() == here


@pytest.mark.parametrize("corpus", FAMILIES)
def test_rows_have_the_columns_of_their_kind(corpus, examples):
    for split in SPLITS:
        for one in examples[corpus][split]:
            assert set(one.row) == COLUMNS[corpus]
            if "references" in one.row:
                assert one.row["references"] == [one.row["target"]]
            texts = [value for value in one.row.values() if isinstance(value, str)]
            assert all("{" not in text and "  " not in text for text in texts)


@pytest.mark.parametrize("corpus", FAMILIES)
def test_no_text_is_in_two_splits(corpus, examples):
    texts = {split: {one.text for one in examples[corpus][split]} for split in SPLITS}
    assert not texts["train"] & texts["validation"]
    assert not texts["train"] & texts["test"]
    assert not texts["validation"] & texts["test"]


@pytest.mark.parametrize("corpus", FAMILIES)
def test_another_seed_does_not_leak_either(corpus, examples):
    trained = {one.text for one in examples[corpus]["train"]}
    held = {combination for one in examples[corpus]["train"] for combination in one.combinations}
    for index in range(199):
        other = example(corpus, "test", seed=12345, index=index)
        assert other.text not in trained
        assert other.combinations[0] not in held


@pytest.mark.parametrize("corpus", FAMILIES)
def test_held_out_combinations_never_occur_in_training(corpus, examples):
    trained = {c for one in examples[corpus]["train"] for c in one.combinations}
    assert {owner_of_combination(*c) for c in trained} == {"train"}
    for one in examples[corpus]["test"]:
        # A passage may tell more than is asked; what is asked comes first.
        asked = one.combinations[:1] if corpus == "qa" else one.combinations
        assert asked
        assert not trained & set(asked)


@pytest.mark.parametrize("corpus", FAMILIES)
def test_validation_is_half_new_texts_and_half_new_combinations(corpus, examples):
    trained = {"train"}
    for index, one in enumerate(examples[corpus]["validation"]):
        owners = {owner_of_combination(*c) for c in one.combinations[:1]}
        assert owners <= (trained if index // 2 % 2 == 0 else {"validation"})
    # Of texts made of training combinations, each can only ever be drawn for one of the two.
    assert {owner_of_text(one.text) for one in examples[corpus]["train"]} == {"train"}
    seen = (one for i, one in enumerate(examples[corpus]["validation"]) if i // 2 % 2 == 0)
    assert {owner_of_text(one.text) for one in seen} == {"validation"}


@pytest.mark.parametrize("corpus", FAMILIES)
def test_every_part_of_a_held_out_combination_occurs_in_training(corpus, examples):
    def parts(split: str) -> set[str]:
        kept = slice(1) if corpus == "qa" else slice(None)
        return {
            part for one in examples[corpus][split] for c in one.combinations[kept] for part in c
        }

    if corpus == "qa":
        known = {part for one in examples[corpus]["train"] for c in one.combinations for part in c}
        names = {word for name in known for word in name.split()}
        assert {word for name in parts("test") for word in name.split()} <= names
    else:
        more = (example(corpus, "train", seed=0, index=i) for i in range(SIZES["train"], 7993))
        missing = parts("test") - parts("train")
        while missing and (one := next(more, None)) is not None:
            missing -= {part for combination in one.combinations for part in combination}
        assert not missing


@pytest.mark.parametrize("corpus", FAMILIES)
def test_rows_rarely_repeat(corpus, examples):
    counts = Counter(one.text for one in examples[corpus]["test"])
    assert len(counts) > 0.99 * SIZES["test"]


def test_generative_qa_has_the_rows_of_qa():
    assert list(generate("generative_qa", "train", size=13, seed=2)) == list(
        generate("qa", "train", size=13, seed=2)
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"corpus": "translations"}, "must name a built-in corpus, but is 'translations'"),
        ({"split": "dev"}, "split must be train, validation or test, but is 'dev'"),
        ({"size": -1}, "size must be at least 0, but is -1"),
        ({"corpus": "qa", "unanswerable": 1.5}, "unanswerable must be a share from 0 to 1"),
        ({"unanswerable": 0.5}, "unanswerable must be 0 for corpus 'translation'"),
    ],
)
def test_mistakes_are_refused_at_once(arguments, words):
    given = {"corpus": "translation", "split": "train", "size": 3, "seed": 0} | arguments
    with pytest.raises(UserError, match=words):
        generate(given.pop("corpus"), given.pop("split"), **given)


def test_a_misspelt_corpus_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean 'sentiment'"):
        generate("sentimant", "train", size=1, seed=0)
