"""Pairs as token rows: special tokens, the cut, prediction without targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.data.listed import listed

from heed.data.batch import PairBatch, PrefixBatch
from heed.data.pairs import AnswerPreparation, PairPreparation
from heed.data.plain_batch import from_plain, single_row, to_plain
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.text.train import train_tokenizer

RECORDS = {
    "source": ["a dog runs", "two small dogs run over the long green field", "a cat"],
    "target": ["ein Hund rennt", "zwei kleine Hunde", "eine Katze sitzt im langen grünen Gras"],
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = RECORDS["source"] + RECORDS["target"]
    return train_tokenizer(texts, algorithm="bpe", vocabulary_size=290)


def preparation(tokenizer: Tokenizer, **changes: Any) -> PairPreparation:
    values: dict[str, Any] = {
        "source_tokenizer": tokenizer,
        "target_tokenizer": tokenizer,
        "max_source_length": 61,
        "max_target_length": 67,
    }
    return PairPreparation(**{**values, **changes})


def test_a_source_ends_and_a_target_begins_and_ends(tokenizer: Tokenizer) -> None:
    rows = listed(preparation(tokenizer).encode(RECORDS, [11, 12, 13], training=True))

    sources, targets = tokenizer.encode(RECORDS["source"]), tokenizer.encode(RECORDS["target"])
    assert rows["source"] == [[*ids, tokenizer.eos_id] for ids in sources]
    assert rows["target"] == [[tokenizer.bos_id, *ids, tokenizer.eos_id] for ids in targets]
    assert rows["index"] == [11, 12, 13]
    assert rows["cut"] == [0, 0, 0]
    assert rows["lengths"] == [
        [len(s) + 1, len(t) + 2] for s, t in zip(sources, targets, strict=True)
    ]


def test_a_long_text_loses_its_tail_and_the_loss_is_counted(tokenizer: Tokenizer) -> None:
    cut = preparation(tokenizer, max_source_length=7, max_target_length=11)
    rows = listed(cut.encode(RECORDS, range(3), training=True))

    for i in range(3):
        source = tokenizer.encode([RECORDS["source"][i]])[0]
        target = tokenizer.encode([RECORDS["target"][i]])[0]
        assert rows["source"][i] == [*source[:6], tokenizer.eos_id]
        assert rows["target"][i] == [tokenizer.bos_id, *target[:9], tokenizer.eos_id]
        assert rows["cut"][i] == max(0, len(source) - 6) + max(0, len(target) - 9)
    assert max(rows["cut"]) > 0


def test_a_prefix_stands_before_every_source(tokenizer: Tokenizer) -> None:
    prefixed = preparation(tokenizer, source_prefix="shorten: ")
    rows = listed(prefixed.encode(RECORDS, range(3), training=True))

    assert tokenizer.decode(rows["source"]) == ["shorten: " + text for text in RECORDS["source"]]
    assert tokenizer.decode(rows["target"]) == RECORDS["target"]


def test_a_batch_pads_each_side_with_its_own_token(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer)
    rows = listed(prepared.encode(RECORDS, [4, 5, 6], training=True))
    each = [{name: rows[name][i] for name in rows} for i in range(3)]
    batch = prepared.collate(each, None)

    assert isinstance(batch, PairBatch)
    assert batch.indices == [4, 5, 6]
    assert batch.records is None
    assert batch.target is not None
    for i in range(3):
        source, target = batch.source.ids[i], batch.target.ids[i]
        assert source[: len(rows["source"][i])].tolist() == rows["source"][i]
        assert bool((source[len(rows["source"][i]) :] == tokenizer.pad_id).all())
        assert target[: len(rows["target"][i])].tolist() == rows["target"][i]
    assert torch.equal(batch.target.ids[:, 0], torch.full((3,), tokenizer.bos_id))
    assert batch.real_tokens == sum(map(sum, rows["lengths"]))


def test_without_targets_a_batch_has_none(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer)
    rows = listed(prepared.encode({"source": RECORDS["source"]}, range(3), training=False))
    each = [{name: rows[name][i] for name in rows} for i in range(3)]

    batch = prepared.collate(each, None)
    assert isinstance(batch, PairBatch)
    assert batch.target is None
    assert [lengths[1] for lengths in rows["lengths"]] == [0, 0, 0]


def test_a_decoder_has_both_in_one_row(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer, shape="decoder", max_source_length=7, max_target_length=11)
    rows = listed(prepared.encode(RECORDS, [4, 5, 6], training=True))

    assert prepared.streams == ("text",)
    assert set(rows) == {*prepared.scalar_columns, *prepared.list_columns}
    for i in range(3):
        source, target = tokenizer.encode([RECORDS["source"][i], RECORDS["target"][i]])
        read = [tokenizer.bos_id, *source[:6]]
        written = [tokenizer.sep_id, *target[:9], tokenizer.eos_id]
        assert rows["text"][i] == read + written
        assert rows["prefix"][i] == len(read)
        assert rows["lengths"][i] == [len(read + written)]
        assert rows["cut"][i] == max(0, len(source) - 6) + max(0, len(target) - 9)
    assert max(rows["cut"]) > 0

    batch = prepared.collate([{name: rows[name][i] for name in rows} for i in range(3)], None)
    assert isinstance(batch, PrefixBatch)
    assert batch.real_tokens == sum(map(len, rows["text"]))
    assert batch.token_positions == batch.tokens.ids.numel()
    assert batch.prefix.lengths.tolist() == rows["prefix"]
    assert batch.prompt.shape == (3, max(rows["prefix"]))
    assert batch.written is not None
    for i, (first, count) in enumerate(
        zip(rows["prefix"], batch.written.lengths.tolist(), strict=True)
    ):
        asked = batch.tokens.ids[i, first + 1 : first + 1 + count].tolist()
        assert asked == rows["text"][i][first + 1 :]
    assert batch.written.width == int(batch.written.lengths.max())
    assert single_row(batch, 1).prefix.lengths.tolist() == rows["prefix"][1:2]
    kept = from_plain(to_plain(batch))
    assert torch.equal(kept.tokens.ids, batch.tokens.ids)
    assert kept.written.lengths.tolist() == batch.written.lengths.tolist()


def test_without_targets_a_decoders_row_is_what_is_read(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer, shape="decoder")
    rows = listed(prepared.encode({"source": RECORDS["source"]}, range(3), training=False))
    batch = prepared.collate([{name: rows[name][i] for name in rows} for i in range(3)], None)

    assert isinstance(batch, PrefixBatch)
    assert [len(text) for text in rows["text"]] == rows["prefix"]
    assert batch.written is None


def test_the_fingerprint_changes_with_everything_rows_depend_on(tokenizer: Tokenizer) -> None:
    other = train_tokenizer(RECORDS["source"], algorithm="bpe", vocabulary_size=280)
    prints = [
        preparation(tokenizer, **changes).fingerprint()
        for changes in (
            {},
            {"source_tokenizer": other},
            {"target_tokenizer": other},
            {"max_source_length": 59},
            {"max_target_length": 59},
            {"source_prefix": "x"},
            {"shape": "decoder"},
        )
    ]

    assert len(set(prints)) == len(prints)
    assert preparation(tokenizer).fingerprint() == prints[0]


@pytest.mark.parametrize("shape", ["encoder_decoder", "decoder"])
@pytest.mark.parametrize(("key", "value"), [("max_source_length", 1), ("max_target_length", 2)])
def test_a_limit_without_room_is_refused(
    tokenizer: Tokenizer, key: str, value: int, shape: str
) -> None:
    with pytest.raises(UserError, match=rf"task.preparation.{key} must be at least .* is {value}"):
        preparation(tokenizer, **{key: value, "shape": shape})


def test_a_question_is_read_with_its_passage_and_answered_in_words(tokenizer: Tokenizer) -> None:
    prepared = AnswerPreparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=101,
        max_target_length=31,
    )
    records = {
        "question": ["who runs?", "who flies?"],
        "context": ["a dog runs", "a dog runs"],
        "answers": [["a dog", "dog"], []],
        "starts": [[0, 2], []],
    }
    rows = listed(prepared.encode(records, range(2), training=True))

    assert tokenizer.decode(rows["source"]) == [
        "question: who runs? context: a dog runs",
        "question: who flies? context: a dog runs",
    ]
    assert tokenizer.decode(rows["target"]) == ["a dog", ""]
    assert rows["target"][1] == [tokenizer.bos_id, tokenizer.eos_id]  # learns to say nothing

    del records["answers"], records["starts"]
    assert listed(prepared.encode(records, range(2), training=False))["target"] == [[], []]
    assert prepared.fingerprint() != preparation(tokenizer).fingerprint()
