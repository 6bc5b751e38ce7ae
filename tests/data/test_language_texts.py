"""Texts as rows of language models: nothing lost, each token told once, masks that come again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tests.data.listed import listed

from heed.data.batch import MaskedBatch
from heed.data.causal_texts import CausalTextPreparation
from heed.data.corpus import Corpus
from heed.data.masked_texts import MaskedTextPreparation
from heed.data.module import DataModule
from heed.data.records import RECORD_KINDS, columns_of_kind, record_kind
from heed.data.sources import FileSource
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.text.train import train_tokenizer

TEXTS = ["one two three", "where is it?", "it is " + "three " * 9, "two"]
TOKENIZER = train_tokenizer(TEXTS, algorithm="bpe", vocabulary_size=283)
SPECIAL = {"cls": TOKENIZER.cls_id, "bos": TOKENIZER.bos_id, "eos": TOKENIZER.eos_id}


def masked(**settings: Any) -> MaskedTextPreparation:
    values = {"tokenizer": TOKENIZER, "max_length": 7, "seed": 5, **settings}
    return MaskedTextPreparation(**values)


def causal(**settings: Any) -> CausalTextPreparation:
    return CausalTextPreparation(**{"tokenizer": TOKENIZER, "max_length": 7, **settings})


def rows_of(preparation: Any, texts: list[str], *, training: bool = False) -> list[dict[str, Any]]:
    columns = listed(preparation.encode({"text": texts}, range(len(texts)), training=training))
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def test_a_long_text_goes_on_in_further_rows() -> None:
    rows = rows_of(masked(), TEXTS)
    for index, ids in enumerate(TOKENIZER.encode(TEXTS)):
        own = [row for row in rows if row["index"] == index]
        assert [token for row in own for token in row["text"][1:-1]] == ids
        assert [row["part"] for row in own] == list(range(-(-len(ids) // 5)))
        assert all(row["text"][0] == SPECIAL["cls"] for row in own)
        assert all(row["text"][-1] == SPECIAL["eos"] for row in own)
        assert all(row["lengths"] == [len(row["text"])] for row in own)
    assert max(len(row["text"]) for row in rows) == 7


def test_what_is_evaluated_is_hidden_alike_for_every_seed_and_in_every_epoch() -> None:
    one, other = (
        preparation.collate(rows_of(preparation, TEXTS), None)
        for preparation in (masked(), masked(seed=6))
    )
    assert one.tokens.ids.equal(other.tokens.ids)
    assert one.labels is not None
    assert other.labels is not None
    assert one.labels.equal(other.labels)
    assert (one.counts > 0).all()


def test_a_user_hides_words_by_writing_masks() -> None:
    preparation = masked(max_length=53)
    columns = listed(
        preparation.encode(
            {"prompt": ["one [MASK] three", "<mask> is [MASK]?", "two"]}, range(3), training=False
        )
    )
    rows = [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)]
    (one,), (three,), (is_it,), (question,) = TOKENIZER.encode(["one", " three", " is", "?"])
    mask = TOKENIZER.mask_id
    assert [row["text"][1:-1] for row in rows[:2]] == [
        [one, mask, three],
        [mask, is_it, mask, question],
    ]
    batch = preparation.collate(rows, None)
    assert batch.labels is None
    assert batch.counts.tolist() == [1, 2, 0]
    assert batch.places[:2].tolist() == [[2, 0], [1, 3]]
    # In a text to learn from, the same letters are letters.
    spelt = rows_of(preparation, ["one [MASK] three"])[0]["text"]
    assert mask not in spelt


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "one": 3}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    with pytest.raises(UserError, match="must have a mask token for task=masked_lm"):
        masked(tokenizer=Tokenizer(backend))


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(UserError, match=r"random_share must leave room beside .* but is 0.3"):
        masked(random_share=0.3)


@pytest.mark.parametrize("packed", [True, False])
def test_each_token_is_told_once(packed: bool) -> None:
    rows = rows_of(causal(packed=packed), TEXTS, training=True)
    bos, eos = SPECIAL["bos"], SPECIAL["eos"]
    told = [token for row in rows for token in row["text"][1:] if token != bos]
    assert told == [token for ids in TOKENIZER.encode(TEXTS) for token in [*ids, eos]]
    lengths = [len(row["text"]) for row in rows]
    if packed:
        assert lengths[:-1] == [7] * (len(rows) - 1)
    for before, after in zip(rows, rows[1:], strict=False):
        goes_on = packed or before["index"] == after["index"]
        assert after["text"][0] == (before["text"][-1] if goes_on else bos)


def test_texts_that_are_evaluated_are_never_packed() -> None:
    rows = rows_of(causal(), TEXTS, training=False)
    assert rows == rows_of(causal(packed=False), TEXTS, training=False)
    assert [row["index"] for row in rows if row["text"][0] == SPECIAL["bos"]] == [0, 1, 2, 3]


def test_where_one_token_ends_and_begins_it_stands_once_between_two_texts() -> None:
    vocabulary = {"<|endoftext|>": 0, "one": 1, "two": 2}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="two"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    preparation = causal(tokenizer=Tokenizer(backend), max_length=53)
    (row,) = rows_of(preparation, ["one two", "two"], training=True)
    assert row["text"] == [0, 1, 2, 0, 2, 0]


def test_a_prompt_keeps_its_end_and_has_none() -> None:
    preparation = causal()
    columns = listed(preparation.encode({"prompt": ["two", TEXTS[2]]}, range(2), training=False))
    (two,), long = TOKENIZER.encode(["two", TEXTS[2]])
    assert columns["text"] == [[SPECIAL["bos"], two], [SPECIAL["bos"], *long[-5:]]]
    assert columns["cut"] == [0, len(long) - 5]


def test_what_rows_depend_on_is_in_the_fingerprint() -> None:
    assert masked().fingerprint() == masked(seed=6, hidden_share=0.3).fingerprint()
    different = [masked(), masked(max_length=8), causal(), causal(packed=False)]
    assert len({preparation.fingerprint() for preparation in different}) == 4


@pytest.mark.parametrize(
    ("kind", "columns", "text"),
    [
        ("labelled_text", {"text": "sentence", "label": "y"}, "sentence"),
        ("pairs", {"source": "en", "target": "de"}, "en"),
        ("pairs", {"source": "en", "target": "de", "text": "de"}, "de"),
        ("passages", {"context": "c", "question": "q"}, "c"),
    ],
)
def test_every_kind_of_record_has_a_text(kind: str, columns: dict[str, Any], text: str) -> None:
    assert columns_of_kind(columns, data=kind, wanted="texts") == {"text": text}
    assert columns_of_kind(columns, data=kind, wanted=kind) == columns
    assert columns_of_kind({}, data=kind, wanted="texts") == {}


def test_a_record_is_a_text_and_nothing_else() -> None:
    kind = RECORD_KINDS["texts"]()
    row = {"sentence": " a film ", "label": 1}
    assert kind.convert(row, {"text": "sentence"}) == {"text": "a film"}
    assert kind.from_input(row) == {"prompt": "a film"}
    assert kind.texts({"text": "a film"}) == ["a film"]
    assert kind.texts({"text": "a film"}, "target") == []


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., DataModule]:
    """A data module of 61 texts, made anew each time."""
    with (tmp_path / "train.jsonl").open("w") as file:
        for number in range(61):
            file.write(json.dumps({"text": f"{number} " + "two " * (number % 5 + 1)}) + "\n")

    def make(num_workers: int = 0) -> DataModule:
        corpus = Corpus(
            source=FileSource(path=str(tmp_path)),
            kind=record_kind("texts"),
            cache_dir=str(tmp_path / "cache"),
        )
        return DataModule(
            corpus=corpus,
            preparation=masked(max_length=53),
            max_tokens=100,
            batch_size=None,
            eval_max_tokens=None,
            seed=5,
            num_workers=num_workers,
            cache_dir=str(tmp_path / "cache"),
            limit_examples=None,
        )

    return make


def hidden(loader: Any) -> list[tuple[list[int], list[list[int]]]]:
    batches: list[MaskedBatch] = list(loader)
    return [(batch.indices, batch.tokens.ids.tolist()) for batch in batches]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_masks_are_new_in_every_epoch_and_the_same_after_a_resume(
    module: Callable[..., DataModule],
) -> None:
    first = module()
    epochs = []
    for epoch in range(2):
        loader = first.train_dataloader()
        first.set_epoch(epoch)
        epochs.append(hidden(loader))
    by_index = [
        {i: tuple(ids) for indices, rows in epoch for i, ids in zip(indices, rows, strict=True)}
        for epoch in epochs
    ]
    assert by_index[0].keys() == by_index[1].keys()
    changed = [i for i in by_index[0] if by_index[0][i] != by_index[1][i]]
    assert len(changed) > 30
    resumed = module(num_workers=1)
    resumed.load_state_dict({"epoch": 1, "position": 2})
    assert hidden(resumed.train_dataloader()) == epochs[1][2:]
