"""Words that become one token each."""

from __future__ import annotations

from pathlib import Path

import pytest

from heed.errors import UserError
from heed.text.added_tokens import pieces_of, size_before, with_added_tokens
from heed.text.tokenizer import Tokenizer, TokenizerPair
from heed.text.train import train_tokenizer

TEXTS = ["The protein binds two other proteins.", "A gene codes for a protein; genes vary."] * 9
NEW = ["BRCA1", "Müller-Lyer"]


@pytest.fixture(params=["bpe", "wordpiece", "unigram"])
def before(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, algorithm=request.param, vocabulary_size=400, lowercase=False)


def added(tokenizer: Tokenizer) -> Tokenizer:
    return with_added_tokens(TokenizerPair(tokenizer, tokenizer), NEW).source


def test_an_added_word_is_one_token_and_comes_back(before: Tokenizer, tmp_path: Path) -> None:
    after = added(before)
    assert after.vocabulary_size == before.vocabulary_size + 2 == size_before(after, NEW) + 2
    (ids,) = after.encode(["The BRCA1 gene"])
    assert ids.count(before.vocabulary_size) == 1
    assert after.decode([ids])[0].split() == ["The", "BRCA1", "gene"]
    after.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == after.fingerprint != before.fingerprint
    assert size_before(again, NEW) == before.vocabulary_size


def test_all_other_texts_stay_as_they_were(before: Tokenizer) -> None:
    after = added(before)
    assert after.encode(TEXTS) == before.encode(TEXTS)
    assert after.special_tokens == before.special_tokens
    assert before.encode(["BRCA1"]) != after.encode(["BRCA1"])


def test_the_pieces_are_those_it_had_before(before: Tokenizer) -> None:
    pieces = pieces_of(added(before), NEW)
    first = before.vocabulary_size
    unknown = before.unk_id
    for number, token in enumerate(NEW):
        (ids,) = before.encode([token])
        assert pieces[first + number] == [id_ for id_ in ids if id_ != unknown]


def test_both_sides_get_the_tokens() -> None:
    one, other = (
        train_tokenizer(TEXTS[:n], algorithm="bpe", vocabulary_size=300, lowercase=False)
        for n in (3, 18)
    )
    pair = with_added_tokens(TokenizerPair(one, other), NEW)
    assert not pair.joint
    assert pair.sizes == (one.vocabulary_size + 2, other.vocabulary_size + 2)
    assert with_added_tokens(TokenizerPair(one, one), NEW).joint
    assert with_added_tokens(pair, []) is pair


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        (["x1", "x1"], "must name texts, each once, but has 'x1': names it twice"),
        ([" "], "must name texts, each once, but has ' ': it is empty"),
        (["<pad>"], "must name new tokens, but '<pad>' is one already; leave it out"),
    ],
)
def test_what_cannot_be_added_is_named(tokens: list[str], fault: str) -> None:
    one = train_tokenizer(TEXTS, algorithm="bpe", vocabulary_size=300, lowercase=False)
    with pytest.raises(UserError, match=fault):
        with_added_tokens(TokenizerPair(one, one), tokens)
