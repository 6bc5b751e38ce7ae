"""Labelled texts as token rows: class numbers, the cut, labels that are not there."""

from __future__ import annotations

import pytest
from tests.data.listed import listed

from heed.data.labelled_text import LabelledTextPreparation
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.text.train import train_tokenizer

RECORDS = {
    "text": ["what a fine film", "dull", "not good and not bad, but long"],
    "label": ["positive", "negative", "neutral"],
}
LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(RECORDS["text"], algorithm="bpe", vocabulary_size=271)


def preparation(tokenizer: Tokenizer, max_length: int = 53) -> LabelledTextPreparation:
    return LabelledTextPreparation(tokenizer=tokenizer, labels=LABELS, max_length=max_length)


def test_a_row_is_cls_tokens_eos_and_the_number_of_its_label(tokenizer: Tokenizer) -> None:
    rows = listed(preparation(tokenizer).encode(RECORDS, [0, 1, 2], training=True))

    expected = tokenizer.encode(RECORDS["text"])
    assert rows["text"] == [[tokenizer.cls_id, *ids, tokenizer.eos_id] for ids in expected]
    assert rows["label"] == [2, 0, 1]
    assert rows["lengths"] == [[len(ids) + 2] for ids in expected]
    assert rows["cut"] == [0, 0, 0]


def test_a_prefix_stands_before_every_text(tokenizer: Tokenizer) -> None:
    prefixed = LabelledTextPreparation(
        tokenizer=tokenizer, labels=LABELS, max_length=53, text_prefix="film: "
    )
    rows = listed(prefixed.encode(RECORDS, range(3), training=True))

    assert tokenizer.decode(rows["text"]) == ["film: " + text for text in RECORDS["text"]]
    assert prefixed.fingerprint() != preparation(tokenizer).fingerprint()


def test_a_long_text_loses_its_tail_and_the_loss_is_counted(tokenizer: Tokenizer) -> None:
    rows = listed(preparation(tokenizer, max_length=5).encode(RECORDS, range(3), training=True))

    expected = tokenizer.encode(RECORDS["text"])
    assert rows["text"] == [[tokenizer.cls_id, *ids[:3], tokenizer.eos_id] for ids in expected]
    assert rows["cut"] == [max(0, len(ids) - 3) for ids in expected]


def test_a_batch_has_the_labels_or_none(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer)
    rows = listed(prepared.encode(RECORDS, range(3), training=False))
    each = [{name: rows[name][i] for name in rows} for i in range(3)]
    batch = prepared.collate(each, [{"text": text} for text in RECORDS["text"]])

    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0, 1]
    assert tokenizer.decode(batch.tokens.ids.tolist()) == RECORDS["text"]
    assert [record["text"] for _, record in batch.examples] == RECORDS["text"]

    rows = listed(prepared.encode({"text": RECORDS["text"]}, range(3), training=False))
    each = [{name: rows[name][i] for name in rows} for i in range(3)]
    assert prepared.collate(each, None).labels is None


def test_a_label_outside_the_set_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"record 9 .* data.labels, but is 'postive'; did you mean"):
        preparation(tokenizer).encode({"text": ["x"], "label": ["postive"]}, [9], training=True)


@pytest.mark.parametrize("labels", [["only"], ["same", "same"], []])
def test_labels_must_be_two_or_more_and_different(tokenizer: Tokenizer, labels: list[str]) -> None:
    with pytest.raises(UserError, match="data.labels must name two or more different classes"):
        LabelledTextPreparation(tokenizer=tokenizer, labels=labels, max_length=53)


def test_a_limit_without_room_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="task.preparation.max_length must be at least 3"):
        preparation(tokenizer, max_length=2)


def test_the_fingerprint_changes_with_everything_rows_depend_on(tokenizer: Tokenizer) -> None:
    other = train_tokenizer(["other"], algorithm="bpe", vocabulary_size=265)
    prepared = [
        preparation(tokenizer),
        preparation(other),
        preparation(tokenizer, max_length=51),
        LabelledTextPreparation(tokenizer=tokenizer, labels=LABELS[::-1], max_length=53),
    ]

    assert len({one.fingerprint() for one in prepared}) == 4
